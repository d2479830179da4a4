"""How a new adapter begins where peft's first draw of it is not meant to stay: EVA and LoftQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_lora.core.events import Choice
from tui_lora.core.spec import RunSpec
from tui_lora.worker.eva import begin_with_eva
from tui_lora.worker.loftq import begin_with_loftq
from tui_lora.worker.reporter import Teller

Progress = Callable[[str, float, float | None, str], None]
"""Of which phase, how far, of how many if that is known, and of what."""


def begin(trainer: Any, spec: RunSpec, reporter: Teller, progress: Progress) -> list[Choice]:
    """Give the adapter of `trainer` the beginning that its variant asks for, if any.

    Of a run's first attempt alone: later ones have the adapter in their checkpoint. `progress`
    hears after each batch or layer how far it is, and may raise. Raises UserError.
    """

    def heard(unit: str) -> Callable[[int, int], None]:
        return lambda done, total: progress("beginning", done, total, unit)

    if spec.lora.variant == "eva":
        with reporter.phase("beginning", "finding the directions of your rows (eva)"):
            return [begin_with_eva(trainer, heard("batches"))]
    if spec.lora.variant == "loftq":
        with reporter.phase("beginning", "finding what quantization rounded away (loftq)"):
            return [begin_with_loftq(trainer.model, spec.model, heard("layers"))]
    return []
