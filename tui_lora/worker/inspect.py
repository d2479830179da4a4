"""The inspect worker, for one viewer over pipes: rows of a dataset as a model would be fed them,
and what a model is made of."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    AdviseMemory,
    CancelInspect,
    ForecastMemory,
    FromInspect,
    InspectReady,
    MeasureLengths,
    ToInspect,
)
from tui_lora.worker.inspector import Inspector
from tui_lora.worker.stdio import Stdio

_CANCELLED_KEPT = 1000

_Kind = tuple[type[ToInspect], str]


def main() -> int:
    """Serve until the end of input, which ends the process."""
    began = time.monotonic()
    pipes: Stdio[FromInspect, ToInspect] = Stdio(says=FROM_INSPECT, hears=TO_INSPECT)
    inspector = Inspector(pipes.say)
    desk = Desk(inspector, pipes.say)
    pipes.listen(desk.hear)

    def warm_up() -> None:
        for stage in (inspector.warm_up_for_models, inspector.warm_up):
            stage()
            seconds = round(time.monotonic() - began, 2)
            pipes.say(InspectReady(seconds=seconds, models=stage != inspector.warm_up))

    # Tables can be read before trl is here.
    warming = threading.Thread(target=warm_up, daemon=True, name="imports")
    inspector.wait_for(warming)
    warming.start()
    while True:
        desk.serve()


class Desk:
    """Takes questions as they come. A newer one of the same kind, or a word from the viewer, ends
    the work on an older one, which is left unanswered then. Of one kind are messages of one type
    whose ids begin alike: `memory-3` and `memory-4`, but not `check-5`.

    Lengths are measured, advice is found and memory is simulated in small steps, with every other
    question answered in between.
    """

    def __init__(self, inspector: Inspector, say: Callable[[FromInspect], None]) -> None:
        self._inspector, self._say = inspector, say
        self._asked: queue.SimpleQueue[ToInspect] = queue.SimpleQueue()
        self._newest: dict[_Kind, str] = {}
        self._cancelled: deque[str] = deque(maxlen=_CANCELLED_KEPT)
        self._under_way: dict[_Kind, Iterator[FromInspect | None]] = {}

    def hear(self, message: ToInspect) -> None:
        """Take a message, in the thread that hears them."""
        if isinstance(message, CancelInspect):
            self._cancelled.append(message.id)
            return
        self._newest[_kind_of(message)] = _id_of(message)
        self._asked.put(message)

    def serve(self) -> None:
        """Answer the next question, or go a step on; waits where there is nothing to do."""
        try:
            message = self._asked.get(block=not self._under_way)
        except queue.Empty:
            self._go_on()
            return
        kind, wanted = _kind_of(message), self._wanted(message)
        if isinstance(message, MeasureLengths):
            self._under_way[kind] = self._inspector.measure(message, wanted)
            return
        if isinstance(message, AdviseMemory):
            self._under_way[kind] = self._inspector.advise(message, wanted)
            return
        if isinstance(message, ForecastMemory):
            self._under_way[kind] = self._inspector.forecast(message, wanted, self._asked.empty)
            # Its answer comes at once; what it does when it has answered can wait.
            self._go_on(kind)
            return
        answer = self._inspector.answer(message, wanted)
        if answer is not None:
            self._say(answer)

    def _go_on(self, kind: _Kind | None = None) -> None:
        """A step of a kind of question, or of what has waited longest."""
        kind = kind or next(iter(self._under_way))
        steps = self._under_way.pop(kind)
        try:
            told = next(steps)
        except StopIteration:
            return
        self._under_way[kind] = steps
        if told is not None:
            self._say(told)

    def _wanted(self, message: ToInspect) -> Callable[[], bool]:
        kind, id = _kind_of(message), _id_of(message)
        return lambda: self._newest.get(kind) == id and id not in self._cancelled


def _kind_of(message: ToInspect) -> _Kind:
    return type(message), _id_of(message).rpartition("-")[0]


def _id_of(message: ToInspect) -> str:
    return str(getattr(message, "id", ""))
