"""The rows of data files, one after another, from any of them on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tui_lora.core.errors import UserError
from tui_lora.store.byte_stream import DAMAGED, ByteStream
from tui_lora.store.csv_rows import csv_rows
from tui_lora.store.data_files import kind_of
from tui_lora.store.documents import document_rows
from tui_lora.store.json_rows import json_rows
from tui_lora.store.line_rows import Found, line_rows


@dataclass(frozen=True)
class Row:
    """One row as it stands in its file, or what is wrong with it.

    `number` counts from 0 over the whole source, `line` from 1 in `file`.
    """

    number: int
    line: int
    value: Any
    problem: str = ""
    file: str = ""


class Place(NamedTuple):
    """Where a row begins: its number, which file, offset and line in it, rows before it there."""

    number: int = 0
    file: int = 0
    offset: int = 0
    line: int = 1
    before: int = 0


FIRST = Place()


class RowReader(Iterator[Row]):
    """Rows of `files` from a place on; `names` is what documents are called.

    Raises UserError where a file cannot be read on. A bad row is a Row with a problem.
    """

    def __init__(self, files: Sequence[Path], names: Sequence[str], start: Place = FIRST) -> None:
        self.place = start
        self._files, self._names = files, names
        self._passed = 0
        self._stream: ByteStream | None = None
        self._rows = self._read(start)

    def __next__(self) -> Row:
        return next(self._rows)

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the disk so far, of all files."""
        return self._passed + (self._stream.taken if self._stream else 0)

    def _read(self, start: Place) -> Iterator[Row]:
        number = start.number
        for at in range(start.file, len(self._files)):
            file, here = self._files[at], str(self._files[at])
            line, before = start.line, start.before
            try:
                stream = self._stream = ByteStream(file)
                try:
                    for found in self._found(stream, at, start):
                        line = found.line
                        self.place = Place(number, at, found.offset, line, before)
                        yield Row(number, line, found.value, found.problem, here)
                        number += 1
                        before += 1
                finally:
                    self._passed += stream.taken
                    self._stream = None
                    stream.close()
            except DAMAGED:
                what = "is damaged or cut off" if before else "is no whole .gz file"
                raise UserError(f"{what} (behind line {line:,}).", where=here) from None
            except OSError as error:
                why = error.strerror or str(error)
                raise UserError(f"cannot be read: {why}.", where=f"{here}:{line}") from None
            start = FIRST

    def _found(self, stream: ByteStream, at: int, start: Place) -> Iterator[Found]:
        kind, offset, line = kind_of(stream.path), start.offset, start.line
        if kind == "csv":
            return csv_rows(stream, offset, line)
        if kind == "json":
            return json_rows(stream, offset, line)
        if kind == "document":
            return document_rows(stream, self._names[at], offset, line, start.before)
        return line_rows(stream, offset, line)
