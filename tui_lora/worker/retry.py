"""Going on by itself after memory ran out: half the micro-batch, twice the accumulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_lora.core.errors import SpecError
from tui_lora.core.spec import RunSpec
from tui_lora.store.spec_now import with_changes

MOST = 3
"""How often a worker tries again, counted since somebody started it."""


@dataclass(frozen=True)
class Retry:
    """The `number`th of at most three (the last one again, where it was not memory that ran out):
    with which settings, and why in words."""

    number: int
    changes: Mapping[str, Any]
    reason: str

    @property
    def words(self) -> str:
        """`micro-batch 2, accumulation 8 (retry 1 of 3)`."""
        rows, times = self.changes.values()
        return f"micro-batch {rows}, accumulation {times} (retry {self.number} of {MOST})"


@dataclass(frozen=True)
class NoRetry:
    """Why the run ends instead, in words; empty where nobody asked for a retry."""

    why: str = ""


def next_try(spec: RunSpec, phase: str, tried: int) -> Retry | NoRetry:
    """What to do after memory ran out in `phase`, `tried` retries into the worker's life.

    A step keeps its rows: an odd micro-batch goes down to its largest divisor.
    """
    if spec.hardware.on_oom != "retry":
        return NoRetry()
    if phase == "loading":
        return NoRetry("a smaller micro-batch does not help while the model is loaded")
    if tried >= MOST:
        return NoRetry(f"it was halved {MOST} times already")
    rows, times = spec.training.micro_batch, spec.training.accumulation
    if rows == 1:
        return NoRetry("the micro-batch is 1 already, so there is nothing to halve")
    less = next(part for part in range(rows // 2, 0, -1) if rows % part == 0)
    more = times * (rows // less)
    changes = {"training.micro_batch": less, "training.accumulation": more}
    try:
        with_changes(spec, changes)
    except SpecError as error:
        return NoRetry(f"a micro-batch of {less} cannot be: {error.problems[0]}")
    reason = (
        f"Memory ran out with a micro-batch of {rows}; a step keeps its {rows * times:,} rows "
        f"(retry {tried + 1} of {MOST})."
    )
    return Retry(tried + 1, changes, reason)
