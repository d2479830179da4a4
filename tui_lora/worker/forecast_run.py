"""The forecast worker of a run: simulates its memory, for the train worker that started it.

A process of its own, since the simulation makes models that have no bytes and patches libraries for
it; it is given no card, runs behind everything else, and ends with the end of its input.
"""

from __future__ import annotations

import os
import queue
from contextlib import suppress

from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    ForecastMemory,
    FromInspect,
    ToInspect,
)
from tui_lora.worker.inspector import Inspector
from tui_lora.worker.stdio import Stdio

_NICE = 5


def main() -> int:
    """Answer ForecastMemory by MemoryForecast or InspectFailed until the end of input, which ends
    the process."""
    with suppress(OSError):
        os.nice(_NICE)
    pipes: Stdio[FromInspect, ToInspect] = Stdio(says=FROM_INSPECT, hears=TO_INSPECT)
    asked: queue.SimpleQueue[ToInspect] = queue.SimpleQueue()
    pipes.listen(asked.put)
    inspector = Inspector()
    inspector.warm_up_for_models()
    while True:
        message = asked.get()
        if isinstance(message, ForecastMemory):
            # Nobody is going to change a size and ask at once again: no others are got ready.
            for answer in inspector.forecast(message, idle=lambda: False):
                if answer is not None:
                    pipes.say(answer)
