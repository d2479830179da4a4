"""A small general text that nothing is trained on here: what an adapter forgot shows in its loss.

Sixteen passages of prose, dialogue, instructions, sums and code, written for this purpose and
given to the public domain (CC0).
"""

from __future__ import annotations

from typing import Any

from tui_lora.core.formats import Reading
from tui_lora.core.text import clean
from tui_lora.store.paths import data_folder
from tui_lora.worker.eval_rows import BEGIN_CHARS, Item, Rows
from tui_lora.worker.spool import Place

FILE = "general/passages.txt"
SOURCE = "sixteen general passages that come with tui-lora"


def general_rows(tokenizer: Any, max_length: int) -> Rows:
    """The passages as the tokenizer writes them, without a template; every token counts but the
    first. A passage longer than `max_length` is cut."""
    text = (data_folder() / FILE).read_text(encoding="utf-8")
    passages = [passage.strip("\n") for passage in text.split("\n\n")]
    items = []
    for at, passage in enumerate(passages):
        ids = list(tokenizer(passage)["input_ids"])
        kept = ids[:max_length]
        items.append(
            Item(
                part="general",
                at=at,
                place=Place(FILE, 0, at),
                row={"input_ids": kept},
                tokens=len(kept) - 1,
                cut=len(ids) - len(kept),
                length=len(kept),
                begin=clean(passage, max_chars=BEGIN_CHARS),
                example={"text": passage},
            )
        )
    reading = Reading("text", {"text": "text"}, SOURCE)
    return Rows("general", SOURCE, reading, tuple(items), len(items), 0, "", None)
