"""What an attempt took of its card at its peak, measured by torch and by the driver."""

from __future__ import annotations

import sys

from tui_lora.core.events import MemoryMeasured
from tui_lora.core.sensors import SensorReading
from tui_lora.core.text import one_line
from tui_lora.store.gpu import Sensors
from tui_lora.worker.card_context import card_of, context_of
from tui_lora.worker.ran_out import ask

GIB = 2**30


def memory_measured(before: SensorReading) -> MemoryMeasured | None:
    """The peak since this process began; None where it had nothing on a card. `before` was read
    before it had. Never raises: a card may be lost, and the attempt has its last word to say."""
    torch = sys.modules.get("torch")
    if torch is None or not ask(torch.cuda.is_initialized):
        return None
    device = ask(torch.cuda.current_device) or 0
    uuid = ask(lambda: str(torch.cuda.get_device_properties(device).uuid)) or ""
    reserved = ask(lambda: torch.cuda.memory_reserved(device) / GIB)
    was, now = card_of(before, uuid), card_of(Sensors().read(), uuid)
    context, source = None, ""
    if reserved is not None:
        context, source = context_of(was, now, reserved)
    total = ask(lambda: torch.cuda.get_device_properties(device).total_memory / GIB)
    name = now.name if now is not None else ask(lambda: torch.cuda.get_device_name(device))
    return MemoryMeasured(
        card=one_line(name or "", max_chars=200),
        total_gib=now.total_gib if now is not None and now.total_gib is not None else total,
        peak_allocated_gib=ask(lambda: torch.cuda.max_memory_allocated(device) / GIB),
        peak_reserved_gib=ask(lambda: torch.cuda.max_memory_reserved(device) / GIB),
        context_gib=context,
        context_source=source,
    )
