"""Several texts in a row: `What is LoRA? | And QLoRA?`, or a JSON list where a bar will not do."""

from __future__ import annotations

import json
from collections.abc import Sequence

_BAR = " | "


def show_texts(texts: Sequence[str]) -> str:
    """The texts as they can be typed again; commas and semicolons are nothing special in them."""
    row = _BAR.join(texts)
    return row if list(parse_texts(row)) == list(texts) else json.dumps(texts, ensure_ascii=False)


def parse_texts(row: str) -> tuple[str, ...]:
    """What was typed, as texts: those of a JSON list, or what stands between bars."""
    if row.lstrip().startswith("["):
        try:
            found = json.loads(row)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(text, str) for text in found):
            return tuple(found)
    if "\n" in row:
        # A row has none; what does is shown as JSON.
        return ()
    return tuple(part.strip() for part in row.split(_BAR) if part.strip())
