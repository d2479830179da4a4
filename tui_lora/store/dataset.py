"""A first look at a dataset: how its rows are read and why, counts, the first problems."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_lora.core.errors import Problem
from tui_lora.core.examples import example
from tui_lora.core.formats import FormatName, Reading, Task, decide
from tui_lora.core.rows import BadRow
from tui_lora.core.spec import DatasetSpec
from tui_lora.core.text import clean
from tui_lora.store.sources import Part, Row, open_source, rows_of

LOOK_ROWS = 100
"""The format is decided from so many rows."""

MOST_LABELS = 1000
"""More different labels are no set of classes."""

MAX_PROBLEMS = 1000
_MOST_COLUMNS = 50


@dataclass
class Look:
    """What a look found. `rows` were read; `complete` when that was all of them.

    `reason` says how `reading` was found or, where it is None, what is missing.
    """

    path: str
    reading: Reading | None
    reason: str
    rows: int = 0
    usable_rows: int = 0
    columns: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    splits: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def format(self) -> FormatName | None:
        return self.reading.format if self.reading else None


def look(
    data: DatasetSpec, task: Task, *, part: Part = "train", max_rows: int | None = None
) -> Look:
    """Read a local dataset (or its first `max_rows`) and say what it is. Raises UserError.

    Never raises for a bad row: those are counted in `problems`.
    """
    source = open_source(data, part)
    found = look_at(rows_of(source), data, task, path=source.path, max_rows=max_rows)
    found.splits, found.files = source.splits, source.files
    if source.note:
        found.reason += f"; {source.note}"
    return found


def look_at(
    rows: Iterable[Row],
    data: DatasetSpec,
    task: Task,
    *,
    path: str,
    max_rows: int | None = None,
    mixed: bool = False,
) -> Look:
    """The same for rows from anywhere; `mixed` for those of a dataset that is mixed in.

    Of the dataset itself it ends once `data.max_rows` rows can be used.
    """
    result = Look(path, None, "")
    columns: dict[str, None] = {}
    first: list[Row] = []

    def take(row: Row) -> None:
        result.rows += 1
        if isinstance(row.value, dict) and len(columns) < _MOST_COLUMNS:
            columns.update(dict.fromkeys(clean(str(key), max_chars=40) for key in row.value))
        problem = row_problem(row, result.reading)
        if problem is None:
            result.usable_rows += 1
        elif len(result.problems) < MAX_PROBLEMS:
            result.problems.append(problem)

    most_used = None if mixed else data.max_rows

    def has_enough() -> bool:
        return most_used is not None and result.usable_rows >= most_used

    def settle() -> None:
        result.reading, result.reason = decided(first, data, task, mixed=mixed)
        for row in first:
            if has_enough():
                result.complete = False
                break
            take(row)
        first.clear()

    for row in rows:
        if (max_rows is not None and row.number >= max_rows) or has_enough():
            result.complete = False
            break
        if row.number < LOOK_ROWS:
            first.append(row)
            if len(first) == LOOK_ROWS:
                settle()
            continue
        take(row)
    if first or not result.rows:
        settle()
    result.columns = list(columns)[:_MOST_COLUMNS]
    return result


def decided(
    first: Iterable[Row], data: DatasetSpec, task: Task, *, mixed: bool = False
) -> tuple[Reading | None, str]:
    """How rows like these, the first of a dataset, are read; see `core.formats.decide`.

    What is mixed in need not look like the dataset: where no row can be read by the spec's format
    and columns, they are found by looking.
    """
    values = [row.value for row in first if not row.problem]
    found = decide(values, format=data.format, columns=data.columns, system=data.system, task=task)
    if mixed and (found[0] is None or not any(_is_usable(value, found[0]) for value in values)):
        return decide(values, system=data.system, task=task)
    return found


def _is_usable(value: Any, reading: Reading) -> bool:
    try:
        example(value, reading)
    except BadRow:
        return False
    return True


def row_problem(row: Row, reading: Reading | None) -> Problem | None:
    """Why `row` cannot be learned from, or None."""
    if row.problem:
        return Problem(row.problem + ".", line=row.line)
    if reading is None:
        return Problem("has no known format.", line=row.line)
    try:
        example(row.value, reading)
    except BadRow as error:
        return Problem(f"{clean(str(error))}.", field=clean(error.field), line=row.line)
    return None


def held_out_rows(rows: int, share: float, seed: int) -> frozenset[int]:
    """Which of the usable rows (counted from 0) are held out when a share is drawn by seed.

    At least one, and never all; none where there is nothing to share.
    """
    if share <= 0 or rows < 2:
        return frozenset()
    size = min(rows - 1, max(1, round(rows * share)))
    return frozenset(random.Random(seed).sample(range(rows), size))  # noqa: S311 (a draw, no secret)
