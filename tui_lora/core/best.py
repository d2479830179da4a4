"""Which of some checkpoints did best on the held-out rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from tui_lora.core.events import Evaluated


def best_step(
    evaluations: Iterable[Evaluated], steps: Collection[int], by: str = "loss"
) -> int | None:
    """The one of `steps` with the lowest held-out loss, or the highest metric where `by` names one;
    the earliest of equals, None where none of them was measured. What was measured last at a step
    counts."""
    grades: dict[int, float] = {}
    for found in evaluations:
        if found.step is None or found.step not in steps:
            continue
        grade = found.loss if by == "loss" else -found.metrics.get(by, math.nan)
        grades.pop(found.step, None)
        if math.isfinite(grade):
            grades[found.step] = grade
    return min(grades, key=lambda step: (grades[step], step), default=None)
