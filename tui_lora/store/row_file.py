"""A dataset read forward: any row by its number, without holding them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from tui_lora.store.sources import Place, Row, RowReader, Source, rows_of

KEPT_ROWS = 128
_MARK_EVERY = 64


class RowFile:
    """Rows of a source by number; those near the last one asked for are kept. Safe in threads.

    The place of every 64th row is noted, so that going back reads no more than that again. What is
    not read here is read by `read`, from a row's number on.
    """

    def __init__(
        self,
        source: Source,
        *,
        kept: int = KEPT_ROWS,
        read: Callable[[Source, int], Iterator[Row]] | None = None,
    ) -> None:
        self.source = source
        self.rows: int | None = None
        self._read, self._most = read, kept
        self._lock = threading.Lock()
        self._marks = [Place()]
        self._kept: dict[int, Row] = {}
        self._rows: Iterator[Row]
        self._next = 0
        self._start(0)

    def row(self, number: int, go_on: Callable[[], bool] = lambda: True) -> Row | None:
        """Row `number` (from 0); None behind the last, or when `go_on` said no.

        `rows` is their number as soon as the end was reached. Raises UserError and OSError.
        """
        with self._lock:
            return self._row(number, go_on)

    def find(
        self, text: str, from_number: int, go_on: Callable[[], bool] = lambda: True
    ) -> int | None:
        """The first row from `from_number` on that holds `text`, in whatever case.

        Names of fields count, and so does what is wrong with a row. None where no row does.
        `go_on` is asked once a row.
        """
        wanted, number = text.casefold(), from_number
        row = self.row(number, go_on)
        while row is not None and go_on():
            if holds(row.problem or row.value, wanted):
                return number
            number += 1
            row = self.row(number)
        return None

    def _row(self, number: int, go_on: Callable[[], bool]) -> Row | None:
        if number in self._kept:
            return self._kept[number]
        if number < 0 or (self.rows is not None and number >= self.rows):
            return None
        if number < self._next or self._mark(number).number > self._next:
            self._start(number)
        for row in self._rows:
            self._next = row.number + 1
            if isinstance(self._rows, RowReader) and row.number == len(self._marks) * _MARK_EVERY:
                self._marks.append(self._rows.place)
            self._kept[row.number] = row
            if len(self._kept) > self._most:
                self._kept.pop(next(iter(self._kept)))
            if row.number >= number or not go_on():
                return self._kept.get(number)
        self.rows = self._next
        return None

    def _mark(self, number: int) -> Place:
        """The last known place at or before row `number`."""
        return self._marks[min(number // _MARK_EVERY, len(self._marks) - 1)]

    def _start(self, number: int) -> None:
        if self._read is not None:
            self._rows, self._next = self._read(self.source, number), number
            return
        mark = self._mark(number)
        self._rows, self._next = rows_of(self.source, mark), mark.number


def holds(value: Any, wanted: str) -> bool:
    """Whether a text (casefolded) stands anywhere in a value, names of fields included."""
    if isinstance(value, str):
        return wanted in value.casefold()
    if isinstance(value, dict):
        return any(holds(key, wanted) or holds(inner, wanted) for key, inner in value.items())
    if isinstance(value, list):
        return any(holds(inner, wanted) for inner in value)
    return value is not None and wanted in str(value).casefold()
