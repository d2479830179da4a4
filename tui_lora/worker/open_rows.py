"""The rows of a source by number, wherever they are: for a viewer that leafs through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tui_lora.core.errors import UserError
from tui_lora.core.formats import Reading, Task
from tui_lora.core.spec import DatasetSpec
from tui_lora.store.dataset import LOOK_ROWS, decided
from tui_lora.store.row_file import RowFile
from tui_lora.store.sources import Part, Row, Source
from tui_lora.worker.tables import Facts, OnProgress, facts, rows_of

GoOn = Callable[[], bool]

_KEPT_ROWS = 200
_GO_BACK_BY = 50
_READ_ON_UP_TO = 1000


class OpenRows:
    """Rows of one source; those near the last one asked for are kept."""

    def __init__(self, source: Source, on_progress: OnProgress) -> None:
        self.source = source
        self._on_progress = on_progress
        self._file = RowFile(source, kept=_KEPT_ROWS) if source.kind == "rows" else None
        self._facts: Facts | None = None
        self._table = _Table(source, on_progress)
        self._readings: dict[object, tuple[Reading | None, str]] = {}

    @property
    def facts(self) -> Facts:
        """Raises UserError."""
        if self._facts is None:
            self._facts = facts(self.source)
        return self._facts

    @property
    def rows(self) -> int | None:
        """How many there are, where that is known."""
        if self._file is not None:
            return self._file.rows
        return self._table.rows if self._table.rows is not None else self.facts.rows

    def row(self, number: int, go_on: GoOn = lambda: True) -> Row | None:
        """Row `number` (from 0); None behind the last, or when `go_on` said no. Raises UserError
        and OSError."""
        if self._file is not None:
            return self._file.row(number, go_on)
        return self._table.row(number, go_on)

    def all_rows(self) -> Iterator[Row]:
        return rows_of(self.source, on_progress=self._on_progress)

    def reading(self, data: DatasetSpec, task: Task, part: Part) -> Reading:
        """How training reads them; raises UserError where it could not."""
        key = (data.format, tuple(data.columns.items()), data.system, task, part)
        if key not in self._readings:
            rows = (self.row(number) for number in range(LOOK_ROWS))
            first: Sequence[Row] = [row for row in rows if row is not None]
            self._readings[key] = decided(first, data, task, mixed=part == "held_out")
        reading, reason = self._readings[key]
        if reading is None:
            raise UserError(
                f"the format of {self.source.name} is not known: {reason}.",
                where="dataset.format",
            )
        return reading


class _Table:
    """Parquet and Hub rows can be read from any number on, so going far is not reading all."""

    def __init__(self, source: Source, on_progress: OnProgress) -> None:
        self._source, self._on_progress = source, on_progress
        self._rows: Iterator[Row] = iter(())
        self._begun = self._next = -1
        self._kept: dict[int, Row] = {}
        self.rows: int | None = None

    def row(self, number: int, go_on: GoOn) -> Row | None:
        if number in self._kept:
            return self._kept[number]
        if number < 0 or (self.rows is not None and number >= self.rows):
            return None
        if self._next < 0 or not 0 <= number - self._next <= _READ_ON_UP_TO:
            self._begun = self._next = max(0, number - _GO_BACK_BY)
            self._rows = rows_of(self._source, start=self._begun, on_progress=self._on_progress)
        for row in self._rows:
            self._next = row.number + 1
            self._kept[row.number] = row
            if len(self._kept) > _KEPT_ROWS:
                self._kept.pop(next(iter(self._kept)))
            if row.number >= number or not go_on():
                return self._kept.get(number)
        # Begun behind the end, all that is known is that it lies before.
        self.rows = self._next if self._next > self._begun or not self._begun else None
        self._next = -1
        return None
