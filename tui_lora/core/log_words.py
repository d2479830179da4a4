"""Events as lines of the run's log, where a line takes more than a few words."""

from __future__ import annotations

from typing import Any

from tui_lora.core.events import (
    AdapterSaved,
    CheckpointSaved,
    Evaluated,
    MemoryCreeps,
    ModelLoaded,
    Peeked,
    SpecChanged,
)
from tui_lora.core.fields import setting_at, show
from tui_lora.core.metrics import BY_NAME, figure, known
from tui_lora.core.text import duration, number, size


def loaded_text(event: ModelLoaded) -> str:
    """`model loaded in 12 s: 3 shards, 3.10 GiB on the card`."""
    parts = []
    if event.shards is not None:
        parts.append("1 shard" if event.shards == 1 else f"{event.shards:,} shards")
    if event.memory_bytes is not None:
        where = "of weights" if event.device == "cpu" else "on the card"
        parts.append(f"{number(event.memory_bytes / 2**30)} GiB {where}")
    what = f": {', '.join(parts)}" if parts else ""
    return f"model loaded in {duration(event.seconds)}{what}"


def checkpoint_text(event: CheckpointSaved) -> str:
    """`checkpoint checkpoints/step-000050  12 MB, verified, 0.3 s`."""
    taken = f"{size(event.size_bytes)}, verified, {duration(event.seconds)}"
    return f"checkpoint {event.path}  {taken}"


def adapter_text(event: AdapterSaved) -> str:
    """`adapter saved  12 MB, 112 tensors, verified`."""
    return f"adapter saved  {size(event.size_bytes)}, {event.tensors} tensors, verified"


def peeked_text(event: Peeked) -> str:
    """`answered 3 prompts at step 50, 4.2 s`."""
    many = "1 prompt" if event.answers == 1 else f"{event.answers:,} prompts"
    return f"answered {many} at step {event.step or 0:,}, {duration(event.seconds)}"


def evaluated_text(event: Evaluated, before: Evaluated | None) -> str:
    """`eval at 50: 1.23 (was 1.40), accuracy 81.0%`."""
    was = f" (was {number(before.loss)})" if before is not None else ""
    figures = "".join(
        f", {BY_NAME[name].label} {figure(name, value)}"
        for name, value in known(event.metrics).items()
    )
    return f"eval at {event.step or 0}: {number(event.loss)}{was}{figures}"


def creeping_text(event: MemoryCreeps) -> str:
    """`memory grows by 0.12 GiB in 100 steps: none left near step 1,240`."""
    grows = f"memory grows by {number(event.per_100_steps_gib)} GiB in 100 steps"
    return f"{grows}: none left near step {event.full_at:,}"


def changed_text(event: SpecChanged) -> str:
    """`changed: epochs 41, log every 5 (as you asked)`."""
    told = ", ".join(f"{_label(path)} {shown(value)}" for path, value in event.changes.items())
    why = event.reason.rstrip(".")
    return f"changed: {told}" + (f" ({why})" if why else "")


def shown(value: Any) -> str:
    """A setting's value in a sentence: `2,000`, `not set`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return show(value) or "not set"


def _label(path: str) -> str:
    """What the forms call a setting; a log may name one that is not known here."""
    try:
        return setting_at(path).label
    except KeyError:
        return path
