"""Rows measured in tokens, in small steps, spread over a dataset that is being read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from tui_lora.core.formats import Example, Reading
from tui_lora.core.inspect import LengthsMeasured, MeasureLengths
from tui_lora.core.rows import BadRow
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.worker.examples import example_of
from tui_lora.worker.feeding import Fed, Feeder, with_any_label
from tui_lora.worker.lengths import Measured, Sample, summed_up
from tui_lora.worker.open_rows import GoOn, OpenRows
from tui_lora.worker.time_limit import MOST_CHARS, chars_in, time_limit
from tui_lora.worker.tokenized import Refused, guarded, refused, shaped

TELL_EVERY_S = 0.5
STEP_S = 0.05
_AT_ONCE = 16
_CHARS_AT_ONCE = 200_000
_KINDS_KEPT = 200
_STEP_LIMIT_S = 20.0
"""For a few rows at once; a template that loops for ever must not keep the viewer waiting."""


def measured(
    asked: MeasureLengths,
    spec: RunSpec,
    feeder: Feeder,
    rows: OpenRows,
    reading: Reading,
    go_on: GoOn,
) -> Iterator[LengthsMeasured | None]:
    """What was found, twice a second at most, and at last with `done`; None at each step.

    Steps take some 50 ms. Raises what reading does; ends without a word when `go_on` says no.
    """
    work = _Measuring(asked, spec, feeder, reading)
    told = float("-inf")
    for _ in work.steps(rows, go_on):
        if not go_on():
            return
        now = time.monotonic()
        if len(work.sample) and now - told >= TELL_EVERY_S:
            told = now
            yield work.so_far(rows.rows, done=False)
        else:
            yield None
    if go_on():
        yield work.so_far(work.of_rows, done=True)


class _Measuring:
    def __init__(
        self, asked: MeasureLengths, spec: RunSpec, feeder: Feeder, reading: Reading
    ) -> None:
        self._asked, self._spec, self._reading = asked, spec, reading
        self._feeder = feeder
        # Text comes in passages, of which nothing is cut.
        self._whole = feeder if reading.shape == "text" else feeder.uncut
        self._problems: Counter[str] = Counter()
        self.sample = Sample(asked.rows)
        self.of_rows: int | None = None

    def steps(self, rows: OpenRows, go_on: GoOn) -> Iterator[None]:
        """Read to the end, or as far as training would; a stream only as far as is needed."""
        began, usable, seen = time.monotonic(), 0, 0
        waiting: list[tuple[int, Example]] = []
        waiting_chars = 0
        most = self._spec.dataset.max_rows
        for row in rows.all_rows():
            if most is not None and usable >= most:
                break
            if rows.source.streaming and usable >= self._asked.rows:
                break
            seen += 1
            try:
                # What is not measured is only counted where that decides where to stop.
                wanted = self.sample.wants(row.number)
                if wanted or most is not None or row.problem:
                    found = example_of(row, self._reading)
                    usable += 1
                if wanted and (chars := chars_in(found)) > MOST_CHARS:
                    self._note(f"not measured, beyond {MOST_CHARS:,} characters")
                elif wanted:
                    waiting.append((row.number, with_any_label(found)))
                    waiting_chars += chars
            except BadRow as error:
                self._note(f"{error.field} {error}".strip())
            many = len(waiting) >= _AT_ONCE or waiting_chars >= _CHARS_AT_ONCE
            if many or time.monotonic() - began > STEP_S:
                self._measure(waiting)
                waiting, waiting_chars = [], 0
                yield
                began = time.monotonic()
                if not go_on():
                    return
        self._measure(waiting)
        if not rows.source.streaming:
            self.of_rows = seen

    def so_far(self, of_rows: int | None, *, done: bool) -> LengthsMeasured:
        problems = [
            f"{many:,} {'row' if many == 1 else 'rows'}: {one_line(what, max_chars=200)}"
            for what, many in self._problems.most_common(20)
        ]
        return summed_up(
            self._asked.id,
            self.sample.rows,
            max_length=self._spec.training.max_length,
            micro_batch=self._spec.training.micro_batch,
            packs=done and self._spec.task == "sft",
            learns_tokens=self._reading.shape != "labelled",
            of_rows=of_rows,
            done=done,
            problems=problems,
            passages=self._reading.shape == "text",
        )

    def _measure(self, waiting: list[tuple[int, Example]]) -> None:
        with time_limit(_STEP_LIMIT_S):
            try:
                self._add(waiting)
            except Refused:
                bad = refused(self._whole, [found for _, found in waiting])
                for what in bad.values():
                    self._note(f"the chat template refuses it: {what}")
                self._add([pair for at, pair in enumerate(waiting) if at not in bad])

    def _add(self, some: list[tuple[int, Example]]) -> None:
        """Raises Refused, before anything is added."""
        feeder, max_length = self._whole, self._spec.training.max_length
        given = list(shaped(feeder, [found for _, found in some]))
        rows = list(guarded(lambda: feeder.rows(given)))
        sequences = feeder.sequences(rows)
        of_each = len(sequences) // max(1, len(rows))
        becomes: dict[int, list[Fed]] = {at: [] for at in range(len(some))}
        for n, row in enumerate(rows):
            becomes[row["at"]] += sequences[n * of_each : (n + 1) * of_each]
        for at, fed in becomes.items():
            self.sample.add(
                Measured(
                    some[at][0],
                    tuple(len(one.ids) for one in fed),
                    sum(sum(one.trained) for one in fed),
                    sum(sum(one.trained[:max_length]) for one in fed),
                )
            )

    def _note(self, what: str) -> None:
        if what not in self._problems and len(self._problems) >= _KINDS_KEPT:
            what = "others"
        self._problems[what] += 1
