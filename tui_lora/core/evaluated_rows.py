"""The rows of an evaluation as lists: by how much they changed, and from what to what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tui_lora.core.evaluation import PARTS, AnswerRow, Evaluation, LossRow, Part

Outcome = Literal["gained", "lost", "both", "neither"]
OUTCOMES: tuple[Outcome, ...] = ("gained", "lost", "both", "neither")


@dataclass(frozen=True)
class Kind:
    """A list of rows: those of a part by their loss, or the answers by a metric. `right`: each is
    right or wrong."""

    name: str
    part: Part | None = None
    label: str = ""
    right: bool = False


@dataclass(frozen=True)
class Measured:
    """A row in a list. `change` is better the higher it is; None is not known. An answer that is
    judged bad is better the less likely it is."""

    key: str
    row: LossRow | AnswerRow
    base: float | None
    tuned: float | None
    outcome: Outcome | None = None

    @property
    def text(self) -> str:
        return self.row.begin if isinstance(self.row, LossRow) else self.row.question

    @property
    def change(self) -> float | None:
        if self.base is None or self.tuned is None or not math.isfinite(self.base + self.tuned):
            return None
        gained = self.tuned - self.base
        return -gained if isinstance(self.row, LossRow) and not self.bad else gained

    @property
    def bad(self) -> bool:
        return isinstance(self.row, LossRow) and self.row.good is False


def kinds(found: Evaluation, rows: Iterable[LossRow | AnswerRow]) -> tuple[Kind, ...]:
    """The lists that there are, held-out rows first."""
    rows = list(rows)
    losses = [row for row in rows if isinstance(row, LossRow)]
    there = {row.part for row in losses}
    labelled = any(row.label for row in losses)
    paired = any(row.rejected_base is not None for row in losses)
    by_loss = [
        Kind(
            part,
            part=part,
            label=found.called(part),
            right=(labelled or paired) and part != "general",
        )
        for part in PARTS
        if part in there
    ]
    if not any(isinstance(row, AnswerRow) for row in rows):
        return tuple(by_loss)
    scored = {name for row in rows if isinstance(row, AnswerRow) for name in row.tuned.scores}
    by_metric = [
        Kind(metric.name, label=metric.label, right=metric.kind == "right")
        for metric in found.metrics
        if metric.name in scored
    ]
    return (*by_loss, *by_metric)


def measured(kind: Kind, rows: Iterable[LossRow | AnswerRow]) -> list[Measured]:
    """The rows of a list, the most improved first; those without a change are last."""
    found = []
    for row in rows:
        if isinstance(row, LossRow) and row.part == kind.part:
            found.append(_of_loss(row))
        elif isinstance(row, AnswerRow) and kind.part is None:
            found.append(_of_answer(row, kind))
    return sorted(found, key=lambda one: math.inf if one.change is None else -one.change)


def of_the_same(row: LossRow | AnswerRow, rows: Sequence[LossRow | AnswerRow]) -> AnswerRow | None:
    """What base and tuned answered to a row whose loss was measured, where it was asked too."""
    if isinstance(row, AnswerRow):
        return row
    place = (row.file, row.line)
    if not row.line or row.part == "general":
        return None
    return next(
        (one for one in rows if isinstance(one, AnswerRow) and (one.file, one.line) == place), None
    )


def outcome_of(base: bool, tuned: bool) -> Outcome:
    if base == tuned:
        return "both" if base else "neither"
    return "gained" if tuned else "lost"


def _of_loss(row: LossRow) -> Measured:
    outcome: Outcome | None = None
    if row.label:
        outcome = outcome_of(row.predicted_base == row.label, row.predicted_tuned == row.label)
    elif row.rejected_base is not None and row.rejected_tuned is not None:
        outcome = outcome_of(row.base < row.rejected_base, row.tuned < row.rejected_tuned)
    tokens = max(1, row.tokens)
    key = f"{row.part} {row.at}"
    return Measured(key, row, row.base / tokens, row.tuned / tokens, outcome)


def _of_answer(row: AnswerRow, kind: Kind) -> Measured:
    base, tuned = row.base.scores.get(kind.name), row.tuned.scores.get(kind.name)
    outcome = None
    if kind.right and base is not None and tuned is not None:
        outcome = outcome_of(base == 1, tuned == 1)
    return Measured(f"answer {row.at}", row, base, tuned, outcome)
