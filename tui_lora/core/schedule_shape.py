"""The learning rate over a run's steps, as transformers' schedulers have it, and what becomes of it
when the run is made longer.

The formulas are those of `transformers.optimization` (`get_scheduler`), each multiplied by the rate
that was set; tests hold them against the installed ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tui_lora.core.spec import RunSpec

DECAY_SHARE = 0.2
"""Of the run, at its end: where warmup_stable_decay lowers the rate (Hu et al. 2024, MiniCPM, have
a tenth and more)."""

OF_SCHEDULERS: dict[str, dict[str, Any]] = {
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"power": 2.0},
}
"""With transformers' own, the first would be cosine and the second linear."""

POLYNOMIAL_END = 1e-7
"""The rate where transformers' polynomial ends, whatever it began with."""

GLYPHS = "▁▂▃▄▅▆▇"

INVERSE_SQRT_SCALE = 10_000
"""transformers' time scale of inverse_sqrt without a warm-up."""

FOLLOWS_LENGTH = frozenset(
    {"cosine", "linear", "cosine_with_restarts", "polynomial", "warmup_stable_decay"}
)
"""Schedulers whose whole course follows from the number of steps, beside the warm-up."""


def warmup_steps(warmup: float, steps: int) -> int:
    """Steps of warm-up in a run of `steps`: below 1 a share of them, rounded up as by
    `TrainingArguments.get_warmup_steps`."""
    return math.ceil(warmup * steps) if warmup < 1 else int(warmup)


def decay_steps(steps: int, warmup: int) -> int:
    """The last steps of a run of `steps`, in which warmup_stable_decay lowers the rate."""
    return min(math.ceil(DECAY_SHARE * steps), max(0, steps - warmup))


@dataclass(frozen=True)
class Course:
    """The learning rate of a run of `steps` optimizer steps; `peak` is the rate that was set."""

    scheduler: str
    peak: float
    warmup: float
    steps: int

    def at(self, step: int) -> float:
        """The rate with which the step after `step` steps is taken; at `steps` where it ends."""
        return self.peak * self._share(step)

    def glyphs(self, columns: int, length: int, top: float) -> str:
        """The rate over `length` steps in one row: full height is a rate of `top`, and what lies
        beyond the run's end are dots."""
        drawn = ""
        for column in range(columns):
            step = round(column * (length - 1) / max(1, columns - 1))
            share = self.at(step) / top
            drawn += "·" if step >= self.steps else GLYPHS[round(share * (len(GLYPHS) - 1))]
        return drawn

    def _share(self, step: int) -> float:
        warm = warmup_steps(self.warmup, self.steps)
        if self.scheduler == "constant":
            return 1.0
        if step < warm:
            return step / max(1, warm)
        rest = max(1, self.steps - warm)
        gone = (step - warm) / rest
        match self.scheduler:
            case "cosine":
                return max(0.0, 0.5 * (1.0 + math.cos(math.pi * gone)))
            case "linear":
                return max(0.0, (self.steps - step) / rest)
            case "cosine_with_restarts":
                if gone >= 1.0:
                    return 0.0
                turns = OF_SCHEDULERS["cosine_with_restarts"]["num_cycles"]
                return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((turns * gone) % 1.0))))
            case "polynomial":
                if step > self.steps or self.steps == warm:
                    return POLYNOMIAL_END / self.peak
                power = OF_SCHEDULERS["polynomial"]["power"]
                left = (self.peak - POLYNOMIAL_END) * (1.0 - gone) ** power
                return float((left + POLYNOMIAL_END) / self.peak)
            case "inverse_sqrt":
                scale = warm or INVERSE_SQRT_SCALE
                return 1.0 / math.sqrt((step + scale - warm) / scale)
            case "warmup_stable_decay":
                decay = decay_steps(self.steps, warm)
                into = step - (self.steps - decay)
                if into < 0:
                    return 1.0
                if into >= decay:
                    return 0.0
                return max(0.0, 0.5 * (1.0 + math.cos(math.pi * into / max(1, decay))))
            case _:
                return 1.0


def course(spec: RunSpec, steps: int) -> Course:
    """The learning rate of a run of `spec` that takes `steps` steps."""
    training = spec.training
    return Course(training.scheduler, spec.learning_rate, training.warmup, steps)
