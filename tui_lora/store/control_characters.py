"""Characters in a row that steer a terminal or turn the reading direction, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tui_lora.core.columns import is_template, template_columns
from tui_lora.core.formats import Reading

# C0 but tab and line ends, DEL, C1, and the marks that turn the direction.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
_NAMES = {"\x00": "NUL", "\x07": "BEL", "\x08": "BS", "\x0c": "FF", "\r": "CR", "\x1b": "ESC"}


def may_hold_control(written: str) -> bool:
    """Whether a look is worth it, by `repr` of a row: it writes all that cannot be printed as an
    escape."""
    return "\\x" in written or "\\u" in written or "\\r" in written


def control_in(row: Any, reading: Reading) -> tuple[str, str] | None:
    """The field and the name of the first such character in the columns that are learned from."""
    for column in _used(reading):
        if isinstance(row, Mapping) and column in row:
            found = _first(row[column], column)
            if found is not None:
                return found
    return None


def _used(reading: Reading) -> list[str]:
    names: list[str] = []
    for column in reading.columns.values():
        names.extend(template_columns(column) if is_template(column) else (column,))
    return names


def _first(value: Any, field: str) -> tuple[str, str] | None:
    if isinstance(value, str):
        match = _CONTROL.search(value)
        if match is None:
            return None
        return field, _NAMES.get(match[0], f"U+{ord(match[0]):04X}")
    inner: Sequence[tuple[Any, str]] = ()
    if isinstance(value, Mapping):
        inner = [(child, f"{field}.{key}") for key, child in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(child, f"{field}[{at}]") for at, child in enumerate(value)]
    return next((found for child, at in inner if (found := _first(child, at))), None)
