"""The head of a model's README.md: its licence, and what it was made from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.text import clean

_READ_BYTES = 64 << 10
_VALUE = r"""^{}[ \t]*:[ \t]*(?:\n[ \t]*-[ \t]*)?["']?([^"'\n\[\]]+?)["']?[ \t]*$"""


@dataclass(frozen=True)
class ModelCard:
    """`licence` is its short name; `base` the model that this one was made from; unknown is ""."""

    licence: str = ""
    base: str = ""


def read_card(readme: Path) -> ModelCard:
    """What the README says between its first two lines of dashes; never raises.

    Read by lines, not as YAML: some cards list a thousand results there, which takes seconds.
    """
    try:
        with readme.open("rb") as file:
            text = file.read(_READ_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ModelCard()
    text = text.replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return ModelCard()
    head = text[4:].split("\n---", 1)[0]
    licence = _value(head, "license")
    if licence in ("", "other"):
        licence = _value(head, "license_name") or licence
    return ModelCard(licence, _value(head, "base_model"))


def _value(head: str, name: str) -> str:
    found = re.search(_VALUE.format(name), head, re.MULTILINE)
    return clean(found[1].strip(), max_chars=80) if found else ""
