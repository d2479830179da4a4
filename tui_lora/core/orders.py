"""What a viewer asks of a running worker: one order a line in `orders.jsonl`, answered by id."""

from __future__ import annotations

from typing import ClassVar

from tui_lora.core.events import SettingValue
from tui_lora.core.wire import Message, Wire


class Order(Message):
    """`id` is a UUID that the worker answers; `t` unix seconds."""

    id: str
    t: float


class Stop(Order):
    """Finish the step, save a checkpoint and the adapter, exit."""

    type: ClassVar[str] = "stop"


class Pause(Order):
    """Finish the step, save a checkpoint, exit and free the card; the adapter is not written."""

    type: ClassVar[str] = "pause"


class Hold(Order):
    """Finish the step and wait, with everything loaded as it is, until told to go on."""

    type: ClassVar[str] = "hold"


class GoOn(Order):
    """Go on after a hold."""

    type: ClassVar[str] = "go_on"


class Discard(Order):
    """Exit at once and save nothing: what was trained since the last checkpoint is lost."""

    type: ClassVar[str] = "discard"


class ChangeSpec(Order):
    """Train on with other settings from the next step on; `changes` by setting."""

    type: ClassVar[str] = "change_spec"
    changes: dict[str, SettingValue]


class SaveCheckpoint(Order):
    """Finish the step, save a checkpoint, go on."""

    type: ClassVar[str] = "checkpoint"


class Peek(Order):
    """Finish the step and answer a message with the weights of that moment (of a classifier: sort
    the text); a run that holds answers at once. The answer stands in evaluations/peeks.jsonl, by
    the order's id."""

    type: ClassVar[str] = "peek"
    prompt: str
    system: str = ""


ORDERS: Wire[Order] = Wire(Stop, Pause, Hold, GoOn, Discard, ChangeSpec, SaveCheckpoint, Peek)
