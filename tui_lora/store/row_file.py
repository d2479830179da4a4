"""A dataset read forward once: any row by its number, without holding them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tui_lora.store.dataset import Row, rows_in

KEPT_ROWS = 500


class RowFile:
    """Rows of one file by number; those near the last one asked for are kept. Safe in threads.

    Going further back than what is kept reads the file again from its start.
    """

    def __init__(self, file: Path, *, kept: int = KEPT_ROWS) -> None:
        self._file, self._most = file, kept
        self._lock = threading.Lock()
        self._rows: Iterator[Row] = rows_in(file)
        self._next = 0
        self._kept: dict[int, Row] = {}
        self.rows: int | None = None

    def row(self, number: int, go_on: Callable[[], bool] = lambda: True) -> Row | None:
        """Row `number` (from 0); None behind the last, or when `go_on` said no.

        `rows` is their number as soon as the end was reached. Raises UserError and OSError.
        """
        with self._lock:
            if number not in self._kept:
                self._read_to(number, go_on)
            return self._kept.get(number)

    def _read_to(self, number: int, go_on: Callable[[], bool]) -> None:
        if self.rows is not None and number >= self.rows:
            return
        if number < self._next:
            self._rows, self._next = rows_in(self._file), 0
        for row in self._rows:
            self._next = row.number + 1
            self._kept[row.number] = row
            if len(self._kept) > self._most:
                self._kept.pop(next(iter(self._kept)))
            if row.number >= number or not go_on():
                return
        self.rows = self._next
