"""Orders in words, and what ending a run costs or gives back. Pure."""

from __future__ import annotations

from tui_lora.core.orders import (
    ChangeSpec,
    Discard,
    GoOn,
    Hold,
    Order,
    Pause,
    Peek,
    SaveCheckpoint,
    Stop,
)
from tui_lora.core.text import duration, number
from tui_lora.core.view import RunView

WORDS: dict[type[Order], str] = {
    Stop: "stop",
    Pause: "pause",
    Discard: "stop without saving",
    Hold: "hold",
    GoOn: "going on",
    ChangeSpec: "new settings",
    SaveCheckpoint: "checkpoint",
    Peek: "message",
}


def ordered(order: Order) -> str:
    """What an order asks for."""
    return WORDS.get(type(order), order.type)


def ago(t: float, now: float) -> str:
    """How long ago `t` was, both in unix seconds: `12 s ago`, in whole seconds."""
    seconds = max(0, round(now - t))
    return f"{seconds} s ago" if seconds < 10 else f"{duration(float(seconds))} ago"


def on_card(view: RunView) -> bool:
    """Whether the run is on a card, as far as its events tell."""
    return view.plan is not None and view.plan.device != "cpu"


def held_gib(view: RunView) -> float | None:
    """What the run held at its last report, in GiB: of its card, with CUDA's own share where that
    was measured; else of the machine. None before the first."""
    step = view.last_step
    if step is None:
        return None
    if not on_card(view):
        return step.process_gib
    context = view.measured.context_gib if view.measured is not None else None
    return None if step.reserved_gib is None else step.reserved_gib + (context or 0.0)


def freed_words(view: RunView) -> str:
    """What a run gave back whose process is gone."""
    held = held_gib(view)
    what = "the card" if on_card(view) else "memory"
    if held is None:
        return f"It holds nothing of {what} any more."
    return f"Its {number(held)} GiB of {what} are free again."


def lost(view: RunView) -> tuple[int, float | None]:
    """Steps taken since the last checkpoint, and about how many seconds of training they were."""
    saved = max([*view.checkpoint_steps[-1:], view.resumed_from or 0])
    steps = max(0, view.step - saved)
    each = view.last_step.step_s if view.last_step is not None else None
    return steps, None if each is None else each * steps


def lost_words(view: RunView) -> str:
    """What ending the run now, without saving, would cost."""
    steps, seconds = lost(view)
    saved = view.step - steps
    if view.last_step is None:
        return "It has taken no step since it was started, so nothing is lost."
    if steps == 0:
        return f"Nothing is lost: step {saved:,} is the latest, and its checkpoint is whole."
    many = "1 step" if steps == 1 else f"{steps:,} steps"
    took = f", about {duration(seconds)} of training," if seconds is not None else ""
    are = "is" if steps == 1 else "are"
    if not saved:
        whole = "The only step" if steps == 1 else f"All {many}"
        return f"{whole}{took} {are} lost: there is no checkpoint yet."
    return f"{many}{took} since the checkpoint of step {saved:,} {are} lost."
