"""Has an eye on a run's memory, and reports when it creeps towards the end of what there is."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import torch

from tui_lora.core.creep import CreepWatch
from tui_lora.core.events import MemoryCreeps
from tui_lora.store.cgroups import allowed
from tui_lora.worker.reporter import Teller

GIB = 2**30


class Creeping:
    """`see` what `worker/voice.py` measures after each step."""

    def __init__(self, reporter: Teller) -> None:
        self._reporter = reporter
        self._watch = CreepWatch()

    def see(self, step: int, last_step: int, memory: Mapping[str, float | None]) -> None:
        """Memory in GiB by the names of StepDone: on a card what torch has allocated counts, else
        what the process holds."""
        allocated = memory.get("allocated_gib")
        held = allocated if allocated is not None else memory.get("process_gib")
        left = _left_gib(memory)
        if held is None or left is None:
            return
        found = self._watch.see(step, held, left_gib=left, last_step=last_step)
        if found is not None:
            self._reporter.say(
                MemoryCreeps(
                    step=step,
                    gib=round(held, 4),
                    per_100_steps_gib=round(100 * found.per_step_gib, 4),
                    full_at=found.full_at(step, left),
                )
            )


def _left_gib(memory: Mapping[str, float | None]) -> float | None:
    """How much more could be allocated at the peak of a step: what is free then, and what torch has
    reserved and nobody uses."""
    if memory.get("allocated_gib") is None:
        machine = psutil.virtual_memory()
        return allowed(machine.total, machine.available)[1] / GIB
    used, reserved = memory.get("card_used_gib"), memory.get("reserved_gib")
    # The peak of what is allocated; where that is not told, all that is reserved counts as used.
    peak = memory.get("peak_allocated_gib") or memory.get("peak_reserved_gib")
    if used is None or reserved is None or peak is None:
        return None
    return max(0.0, card_total_gib() - used + reserved - peak)


def card_total_gib() -> float:
    return float(torch.cuda.mem_get_info()[1] / GIB)
