"""How far a session has come: what outlives an attempt, and what its last words are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tui_lora.core.events import Evaluated


@dataclass
class Progress:
    """`evaluations` are what was measured on the held-out rows, the base's (at step 0) among it."""

    step: int = 0
    tokens_seen: int = 0
    evaluations: list[Evaluated] = field(default_factory=list)
    last_loss: float | None = None

    @property
    def base_eval(self) -> Evaluated | None:
        return next((found for found in self.evaluations if not found.step), None)

    @property
    def tuned_eval(self) -> Evaluated | None:
        """The latest of a trained adapter."""
        return next((found for found in reversed(self.evaluations) if found.step), None)


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Without those that result.json could not spell."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
