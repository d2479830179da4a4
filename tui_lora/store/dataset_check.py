"""A whole dataset read once: what can be learned from, and everything that is wrong with it.

Nothing is tokenized. A row takes about 120 bytes of memory, as long as doubles are looked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from tui_lora.core.check import Checked, CheckProgressed
from tui_lora.core.examples import example
from tui_lora.core.formats import Reading
from tui_lora.core.rows import BadRow
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean
from tui_lora.store.control_characters import control_in, may_hold_control
from tui_lora.store.dataset import LOOK_ROWS, MOST_LABELS, decided, held_out_rows
from tui_lora.store.problem_list import ProblemList
from tui_lora.store.row_doubles import MOST_ROWS, Doubles, Stood
from tui_lora.store.sources import Row, RowReader, Source, rows_of, sources_of

PROGRESS_S = 0.2
_LOOK_UP_EVERY = 64
_MOST_COLUMNS = 50
_LABELS_COUNTED = 10 * MOST_LABELS

Read = Callable[[Source], Iterator[Row]]


class LeftOff(Exception):
    """Nobody wants to know any more."""


def check(
    spec: RunSpec,
    *,
    id: str = "",
    read: Read = rows_of,
    on_progress: Callable[[CheckProgressed], None] = lambda told: None,
    list_to: str | None = None,
    wants_on: Callable[[], bool] = lambda: True,
) -> Checked:
    """Read the dataset of `spec`, what is mixed into it, and what is held out.

    The rows of what is mixed in are counted on behind those of the dataset. `list_to` is a file for
    every problem. Raises UserError for what cannot be read at all, and LeftOff as soon as
    `wants_on` says no.
    """
    train, held_out = sources_of(spec.dataset, "train"), sources_of(spec.dataset, "held_out")
    sources = [source for source, _ in [*held_out, *train]]
    problems = ProblemList(list_to, [file for source in sources for file in source.files])
    progress = _Progress(id, sources, problems, on_progress, wants_on)
    try:
        return _Check(spec, read, problems, progress).run(
            id, [source for source, _ in train], [source for source, _ in held_out]
        )
    finally:
        problems.drop()


class _Check:
    def __init__(
        self, spec: RunSpec, read: Read, problems: ProblemList, progress: _Progress
    ) -> None:
        self._spec, self._read = spec, read
        self._problems, self._progress = problems, progress
        self._held_out: set[int] = set()
        self._doubles = Doubles()
        self._labels: Counter[str] = Counter()
        self._columns: dict[Any, str] = {}
        self._files: list[str] = []
        self._rows = self._usable = self._also_held_out = 0

    def run(self, id: str, train: list[Source], held_out: list[Source]) -> Checked:
        began = time.monotonic()
        held_rows = sum(self._held_out_rows(source) for source in held_out) if held_out else None
        main = train[0]
        reading, reason = self._part(main, mixed=False)
        of_main = self._usable
        for source in train[1:]:
            self._part(source, mixed=True)
        if not held_out and self._spec.dataset.eval_share > 0:
            held_rows = self._draw(of_main)
        if self._spec.task == "classification" and reading is not None:
            self._judge_labels(main, reading)
        listed_in = self._problems.finish()
        unknown = self._doubles.gave_up
        return Checked(
            id=id,
            format=reading.format if reading else None,
            reason=f"{reason}; {main.note}" if main.note else reason,
            task=self._spec.task,
            rows=self._rows,
            usable_rows=self._usable,
            held_out_rows=held_rows,
            splits=main.splits,
            columns=tuple(self._columns.values())[:_MOST_COLUMNS],
            parts=dict(reading.columns) if reading else {},
            files=sum(max(1, len(source.files)) for source in train),
            size_bytes=_sum([source.size_bytes for source in train]),
            labels=dict(self._labels.most_common(MOST_LABELS)),
            duplicates=None if unknown else self._doubles.duplicates,
            also_held_out=None if held_rows is None or unknown else self._also_held_out,
            problems=tuple(self._problems.first),
            kinds=dict(self._problems.kinds),
            listed_in=listed_in,
            seconds=round(time.monotonic() - began, 2),
        )

    def _opened(self, source: Source, *, mixed: bool) -> tuple[Iterator[Row], Reading | None, str]:
        rows = self._read(source)
        self._progress.reads(source, rows)
        first = list(islice(rows, LOOK_ROWS))
        reading, reason = decided(first, self._spec.dataset, self._spec.task, mixed=mixed)
        return chain(first, rows), reading, reason

    def _held_out_rows(self, source: Source) -> int:
        """Remember the rows that are held out, in a file or split of their own; how many."""
        rows, reading, reason = self._opened(source, mixed=True)
        usable = bad = 0
        first, most = reason, self._spec.dataset.eval_rows
        for row in rows:
            if most is not None and usable >= most:
                break
            self._progress.step()
            try:
                if reading is None or row.problem:
                    raise BadRow(row.problem)
                key = hash(repr(example(row.value, reading)))
            except BadRow as error:
                if not bad and str(error):
                    field = f"{error.field}: " if error.field else ""
                    first = f"line {row.line:,}: {field}{error}"
                bad += 1
                continue
            usable += 1
            if len(self._held_out) < MOST_ROWS:
                self._held_out.add(key)
        if bad:
            what = f"{bad:,} of {usable + bad:,} held-out rows cannot be used ({first})"
            self._problems.add("held-out rows", source.path, 0, -1, what, left_out=True)
        return usable

    def _part(self, source: Source, *, mixed: bool) -> tuple[Reading | None, str]:
        """Every row of one source; how it is read and why."""
        rows, reading, reason = self._opened(source, mixed=mixed)
        most = None if mixed else self._spec.dataset.max_rows
        begun, usable_before = self._rows, self._usable
        files: dict[str, int] = {}
        for row in rows:
            if most is not None and self._usable - usable_before >= most:
                break
            self._rows = begun + row.number + 1
            self._progress.step()
            if row.file not in files:
                files[row.file] = len(self._files)
                self._files.append(row.file)
            if isinstance(row.value, dict) and len(self._columns) < _MOST_COLUMNS:
                for key in row.value:
                    if key not in self._columns:
                        self._columns[key] = clean(str(key), max_chars=40)
            stood = Stood(files[row.file], row.line, begun + row.number)
            if reading is None:
                self._problems.kinds["no known format"] += not row.problem
            if row.problem:
                kind = "empty" if row.problem == "is empty" else "not readable"
                self._note(kind, stood, row.problem, left_out=True)
            elif reading is not None:
                self._row(row, reading, stood)
        return reading, reason

    def _row(self, row: Row, reading: Reading, stood: Stood) -> None:
        try:
            found = example(row.value, reading)
        except BadRow as error:
            self._note(error.kind, stood, str(error), field=error.field, left_out=True)
            return
        self._usable += 1
        written = repr(found)
        key = hash(written)
        if may_hold_control(written) and (control := control_in(row.value, reading)) is not None:
            what = f"holds the control character {control[1]}"
            self._note("control characters", stood, what, field=control[0], left_out=False)
        if reading.shape == "labelled" and (
            found["label"] in self._labels or len(self._labels) <= _LABELS_COUNTED
        ):
            self._labels[found["label"]] += 1
        before = self._doubles.add(key, stood)
        if key in self._held_out:
            self._is_held_out_too(stood)
        elif before is not None:
            where = "" if before.file == stood.file else f" of {self._files[before.file]}"
            what = f"is the same as line {before.line:,}{where}"
            self._note("duplicate", stood, what, left_out=False)

    def _draw(self, usable: int) -> int | None:
        """A share is drawn by seed: find rows that are the same as one of those; how many those
        are."""
        share, seed = self._spec.dataset.eval_share, self._spec.training.seed
        if not self._doubles.gave_up:
            for stood in self._doubles.in_share(usable, share, seed):
                self._is_held_out_too(stood)
        return len(held_out_rows(usable, share, seed))

    def _is_held_out_too(self, stood: Stood) -> None:
        self._also_held_out += 1
        self._usable -= 1
        self._note("also held out", stood, "is held out too", left_out=True)

    def _judge_labels(self, source: Source, reading: Reading) -> None:
        if len(self._labels) > MOST_LABELS:
            over = "over " if len(self._labels) > _LABELS_COUNTED else ""
            many = f"{over}{min(len(self._labels), _LABELS_COUNTED):,}"
            what = f"has {many} different labels, which is no set of classes"
        elif len(self._labels) == 1:
            what = f"has one label only ({next(iter(self._labels))!r:.60}); nothing to tell apart"
        else:
            return
        field = reading.columns["label"]
        self._problems.add("labels", source.path, 0, -1, what, field=field, left_out=True)

    def _note(self, kind: str, stood: Stood, what: str, *, field: str = "", left_out: bool) -> None:
        file = self._files[stood.file]
        self._problems.add(kind, file, stood.line, stood.row, what, field=field, left_out=left_out)


class _Progress:
    """Says how far the check is, a few times a second, in bytes where all of it is files here."""

    def __init__(
        self,
        id: str,
        sources: list[Source],
        problems: ProblemList,
        on_progress: Callable[[CheckProgressed], None],
        wants_on: Callable[[], bool],
    ) -> None:
        self._id, self._problems = id, problems
        self._on_progress, self._wants_on = on_progress, wants_on
        here = all(source.kind == "rows" for source in sources)
        self._total = _sum([source.size_bytes for source in sources]) if here else None
        self._rows = self._passed = self._size = 0
        self._reader: RowReader | None = None
        self._told = time.monotonic()

    def reads(self, source: Source, rows: Iterator[Row]) -> None:
        self._passed += self._size
        self._size = source.size_bytes or 0
        self._reader = rows if isinstance(rows, RowReader) else None

    def step(self) -> None:
        """A row more; raises LeftOff when nobody wants to know any more."""
        self._rows += 1
        if self._rows % _LOOK_UP_EVERY or time.monotonic() - self._told < PROGRESS_S:
            return
        self._told = time.monotonic()
        if not self._wants_on():
            raise LeftOff
        done = self._rows
        if self._total is not None and self._reader is not None:
            done = self._passed + self._reader.bytes_read
        self._on_progress(
            CheckProgressed(
                id=self._id,
                rows=self._rows,
                done=done,
                total=self._total,
                problems=self._problems.total,
            )
        )


def _sum(sizes: list[int | None]) -> int | None:
    return None if None in sizes else sum(size for size in sizes if size is not None)
