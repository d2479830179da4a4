"""Where a trace has its peak, and what lives then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tui_lora.worker.memory.allocator import Allocator, rounded
from tui_lora.worker.memory.deeper import Trace

_PASSES = {
    "ahead": "reference",
    "ahead top": "reference",
    "forward": "forward",
    "forward top": "forward",
    "behind": "reference",
    "behind top": "reference",
    "backward": "backward",
    "step": "step",
    **{
        f"evaluation {name}{top}": "evaluation"
        for name in ("ahead", "forward", "behind")
        for top in ("", " top")
    },
}
"""Parts of the second step, which is like all that follow, and of an evaluation behind it, and what
they are called outside."""


_CUBLAS = (-1, -2)
"""Numbers that no storage has."""


@dataclass(frozen=True)
class Peak:
    """Bytes, `reserved` from the first step on. `kinds`: what lives at the peak of the second step,
    by what it is for; `activations` among them are kept from the forward pass, everything passing
    is workspace. Blocks are seldom cut to the size: together these are a little less."""

    allocated: int
    reserved: int
    phase: str
    kinds: Counter[str]


def peak_of(trace: Trace, cublas: int = 0) -> Peak:
    """The peak of a trace, `cublas` bytes for its workspaces among it: one for the thread of the
    forward pass and one for that of the backward pass."""
    allocator = Allocator()
    allocator.warm_up(trace.room)
    best = at = 0
    steps = False
    sizes: dict[int, int] = {}
    forward_ends = 0
    for index, (number, size) in enumerate(trace.events):
        phase = trace.phases[index]
        if phase != "loading" and not steps:
            steps = True
            for workspace in _CUBLAS:
                allocator.take(workspace, cublas // len(_CUBLAS))
            allocator.peak_reserved = allocator.reserved
        allocator.hear((number, size))
        if number > 0:
            sizes[number] = rounded(size)
        if phase in ("forward", "forward top"):
            forward_ends = index
        if phase in _PASSES and allocator.allocated > best:
            best, at = allocator.allocated, index
    kept = _living(trace, forward_ends)
    kinds: Counter[str] = Counter(workspace=cublas)
    for number, kind in _living(trace, at).items():
        passing = kind == "activations" and number not in kept
        kinds["workspace" if passing else kind] += sizes[number]
    return Peak(best, allocator.peak_reserved, _PASSES[trace.phases[at]], kinds)


def _living(trace: Trace, at: int) -> dict[int, str]:
    """What lives right behind an event, and what it is for."""
    living: dict[int, str] = {}
    for index in range(at + 1):
        number, _ = trace.events[index]
        if number > 0:
            living[number] = trace.kinds[index]
        else:
            living.pop(-number, None)
    return living
