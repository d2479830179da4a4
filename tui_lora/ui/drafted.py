"""What the draft says of one setting, read without the spec's types: a draft may still be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_lora.ui.state import Draft


def drafted(draft: Draft, path: str) -> Any:
    """The value at `model.id` or `task`; None when the draft says nothing of it."""
    section, _, name = path.partition(".")
    part = draft.data.get(section)
    if not name:
        return part
    if isinstance(part, Mapping):
        return part.get(name)
    # `model: PATH` and `dataset: PATH` stand for their first field.
    return part if isinstance(part, str) and path in ("model.id", "dataset.path") else None


def drafted_text(draft: Draft, path: str) -> str:
    """The same as text; empty when there is none."""
    value = drafted(draft, path)
    return value if isinstance(value, str) else ""
