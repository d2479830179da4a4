"""Values of tables as rows have them: text, numbers, yes and no, lists and objects of these."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from datasets import ClassLabel, Features, LargeList, List, Value
from datasets.features import Json, Translation, TranslationVariableLanguages

from tui_lora.core.text import clean

_READ = Value | ClassLabel | Json | Translation | TranslationVariableLanguages

Cell = Callable[[Any], Any]


class Cells:
    """How the columns of one table are read; `left_out` are those of pictures, sounds and such."""

    def __init__(self, columns: list[str], features: Features | None) -> None:
        known = features or {}
        self.left_out = tuple(name for name in columns if _is_media(known.get(name)))
        self.columns = tuple(name for name in columns if name not in self.left_out)
        self._labels: dict[str, Cell] = {}
        for name in self.columns:
            named = _named(known.get(name))
            if named is not None:
                self._labels[name] = named

    @property
    def note(self) -> str:
        """What is not read, for people; empty when everything is."""
        if not self.left_out:
            return ""
        which = clean(", ".join(self.left_out), max_chars=200)
        one = len(self.left_out) == 1
        columns, are = ("the column", "is") if one else ("the columns", "are")
        return f"{columns} {which} with pictures, sounds or the like {are} not read"

    def row(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The row. Bytes that are no text become an object that says so: they hurt only where
        text is wanted."""
        row: dict[str, Any] = {}
        for name in self.columns:
            value = found.get(name)
            row[name] = _plain(self._labels[name](value) if name in self._labels else value)
        return row


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            # Some writers of tables mark text as bytes.
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return {"bytes": len(value)}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return str(value)


def _named(feature: Any) -> Cell | None:
    """What turns the numbers of labels into their names, wherever they stand; None: no labels."""
    if isinstance(feature, ClassLabel):
        return lambda value: feature.names[value] if _is_label(value, feature) else None
    if isinstance(feature, Mapping):
        inner = {name: named for name, part in feature.items() if (named := _named(part))}
        if not inner:
            return None
        return lambda value: (
            {name: inner[name](part) if name in inner else part for name, part in value.items()}
            if isinstance(value, Mapping)
            else value
        )
    if isinstance(feature, List | LargeList):
        each = _named(feature.feature)
        if each is None:
            return None
        return lambda value: [each(part) for part in value] if isinstance(value, list) else value
    return None


def _is_label(value: Any, feature: ClassLabel) -> bool:
    # -1 stands for a label that is kept from us, as in the test split of a benchmark.
    return isinstance(value, int) and 0 <= value < len(feature.names)


def _is_media(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return any(_is_media(part) for part in feature.values())
    if isinstance(feature, List | LargeList):
        return _is_media(feature.feature)
    return feature is not None and not isinstance(feature, _READ)
