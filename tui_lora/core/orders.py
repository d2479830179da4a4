"""What a viewer asks of a running worker: one order a line in `orders.jsonl`, answered by id."""

from __future__ import annotations

from typing import ClassVar

from tui_lora.core.wire import Message, Wire


class Order(Message):
    """`id` is a UUID that the worker answers; `t` unix seconds."""

    id: str
    t: float


class Stop(Order):
    """Finish the step, save a checkpoint and the adapter, exit."""

    type: ClassVar[str] = "stop"


class SaveCheckpoint(Order):
    """Finish the step, save a checkpoint, go on."""

    type: ClassVar[str] = "checkpoint"


ORDERS: Wire[Order] = Wire(Stop, SaveCheckpoint)
