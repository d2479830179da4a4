"""Where the memory went when there was no more: asked while everything is still held.

What torch itself said is from the very moment, so it stands before what is measured after it. No
look may fail the worker: what cannot be told is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from tui_lora.core.events import MemoryHolder, MemoryRanOut
from tui_lora.core.sensors import CardReading
from tui_lora.core.text import one_line
from tui_lora.worker.oom import Told, is_the_machines, told_by

T = TypeVar("T")

GIB = 2**30
_LEAST_GIB = 0.005
"""What would be shown as 0.00 is nobody's."""

_LOADED = "loaded so far"
"""What all of it is before there is a run whose parts could be told."""


def memory_ran_out(error: BaseException, trainer: Any) -> MemoryRanOut:
    """What `error` and the live parts of the run tell; `trainer` is None while it is loaded.

    Never raises.
    """
    doing = getattr(trainer, "doing", None)
    shape = ask(doing.shape) if doing is not None and doing.phase != "saving" else None
    phase = doing.phase if doing is not None else "loading"
    step = None
    if doing is not None and phase != "loading":
        # The steps that were taken are counted at their end.
        step = int(trainer.state.global_step) + (phase in ("forward", "backward", "step"))
    on_machine = is_the_machines(error) or not ask(_on_card)
    look = _of_machine if on_machine else _of_card
    parts = ask(lambda: _parts(trainer, "cpu" if on_machine else "cuda")) or {}
    facts = ask(lambda: look(told_by(error), parts)) or {"device": "cpu" if on_machine else "cuda"}
    message = one_line(str(error), max_chars=600) or type(error).__name__
    if limit := facts.pop("limit", ""):
        message += f" (the memory that counts here is that of {limit})"
    return MemoryRanOut(
        step=step,
        phase=phase,
        rows=shape.rows if shape else None,
        tokens=shape.tokens if shape else None,
        longest_row_tokens=shape.longest if shape else None,
        message=message,
        **facts,
    )


def ask(question: Callable[[], T]) -> T | None:
    """The answer; None where there is none: the card may be lost, and memory short for asking."""
    with suppress(Exception):
        return question()
    return None


def on_card(
    told: Told,
    parts: Mapping[str, float],
    *,
    device: str = "cuda:0",
    allocated: float | None = None,
    reserved: float | None = None,
    free: float | None = None,
    card: CardReading | None = None,
    own_pid: int | None = None,
) -> dict[str, Any]:
    """The fields of the event for a card, in GiB: what the error `told` before what was measured
    after it. `parts` are the live objects' sizes, `card` the driver's reading."""
    if told.allocated is not None:
        allocated = told.allocated
        reserved = allocated + (told.unused or 0.0)
    total = told.total if told.total is not None else (card.total_gib if card else None)
    if told.free is not None:
        free = told.free
    held = dict(parts)
    if allocated is not None:
        rest = "activations and workspace" if parts else _LOADED
        held[rest] = allocated - sum(parts.values())
    if allocated is not None and reserved is not None:
        held["unused"] = reserved - allocated
    return {
        "device": device,
        "asked_gib": told.asked,
        "free_gib": free,
        "total_gib": total,
        "allocated_gib": allocated,
        "reserved_gib": reserved,
        "held": _holders(held.items()),
        "others": _holders(_others(told, total, free, reserved, card, own_pid)),
    }


def _others(
    told: Told,
    total: float | None,
    free: float | None,
    reserved: float | None,
    card: CardReading | None,
    own_pid: int | None,
) -> Iterable[tuple[str, float]]:
    """Who else is on the card: by process where this one is known among them, else in sum."""
    names = {found.pid: found.name for found in (card.processes or ())} if card else {}
    if told.process is not None:
        return [(names.get(pid) or f"process {pid}", gib) for pid, gib in told.others]
    found = (card.processes or ()) if card else ()
    ours = [one for one in found if one.pid == own_pid and (one.used_gib or 0) >= (reserved or 0)]
    if ours and not told.others:
        return [
            (one.name or f"process {one.pid}", one.used_gib)
            for one in found
            if one is not ours[0] and one.used_gib is not None
        ]
    if total is None or free is None or reserved is None:
        return []
    # In a container the ids are the host's, and which of them is ours cannot be told.
    return [("other processes and CUDA's context", total - free - reserved)]


def _holders(held: Iterable[tuple[str, float]]) -> tuple[MemoryHolder, ...]:
    return tuple(
        MemoryHolder(name=one_line(name), gib=round(gib, 4))
        for name, gib in held
        if gib >= _LEAST_GIB
    )


def _parts(trainer: Any, device: str) -> dict[str, float]:
    if trainer is None:
        return {}
    from tui_lora.worker.held import held_by

    found = held_by(trainer.model, trainer.optimizer, device)
    return {name: size / GIB for name, size in found.items()}


def _on_card() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.is_initialized()


def _of_card(told: Told, parts: Mapping[str, float]) -> dict[str, Any]:
    import os

    import torch

    from tui_lora.store.gpu import Sensors
    from tui_lora.worker.card_context import card_of

    device = f"cuda:{torch.cuda.current_device()}"
    uuid = ask(lambda: str(torch.cuda.get_device_properties(device).uuid))
    free = ask(lambda: torch.cuda.mem_get_info(device)[0] / GIB)
    return on_card(
        told,
        parts,
        device=device,
        allocated=ask(lambda: torch.cuda.memory_allocated(device) / GIB),
        reserved=ask(lambda: torch.cuda.memory_reserved(device) / GIB),
        free=free,
        card=ask(lambda: card_of(Sensors().read(), uuid or "")),
        own_pid=os.getpid(),
    )


def _of_machine(told: Told, parts: Mapping[str, float]) -> dict[str, Any]:
    from tui_lora.worker.machine_memory import machine_memory

    memory = machine_memory().when_short_of(told.asked)
    rest = "activations, data and libraries" if parts else _LOADED
    held = {**parts, rest: memory.own - sum(parts.values())}
    others = memory.total - memory.free - memory.own
    return {
        "device": "cpu",
        "asked_gib": told.asked,
        "free_gib": memory.free,
        "total_gib": memory.total,
        "allocated_gib": memory.own,
        "held": _holders(held.items()),
        "others": _holders([("other processes", others)]),
        "limit": memory.whose,
    }
