"""The one inspect worker of a viewer: of each kind of question the newest counts.

The app owns it; a screen says which kinds of answers are its own, and asks.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from textual.message import Message

if TYPE_CHECKING:
    from tui_lora.core.inspect import FromInspect, ToInspect
    from tui_lora.store.pipe import PipeWorker
    from tui_lora.ui.row_lengths import LengthsKnown

State = Literal["off", "starting", "ready", "ended"]
Kind = Literal[
    "feed",
    "read",
    "look",
    "find",
    "held_out",
    "lengths",
    "model",
    "memory",
    "pointed",
    "advice",
    "check",
]
Post = Callable[[Message], object]
EARLY = ("read", "look", "find", "held_out")
"""What the worker can answer before it has imported everything."""


class InspectorChanged(Message):
    """The worker is ready, or it ended, with its last words."""

    def __init__(self, state: State, words: str = "") -> None:
        self.state = state
        self.words = words
        super().__init__()


class Answered(Message):
    """Something was answered to the newest question of a kind; `kind` is empty for all of them."""

    def __init__(self, kind: str, answer: FromInspect) -> None:
        self.kind = kind
        self.answer = answer
        super().__init__()


class Inspector:
    """Starts the worker in a thread and posts what it says; never blocks its caller.

    A question asked while the worker is starting waits; a newer one of its kind takes its place,
    and calls off one that is being answered.
    """

    def __init__(self) -> None:
        self._posts: dict[str, Post] = {}
        self._lock = threading.Lock()
        self._worker: PipeWorker[ToInspect, FromInspect] | None = None
        self._outbox: queue.SimpleQueue[ToInspect | None] = queue.SimpleQueue()
        self._newest: dict[str, str] = {}
        self._last: dict[str, str] = {}
        """What was asked last, answered or not: the worker may simulate on behind an answer."""
        self._waiting: dict[str, ToInspect] = {}
        self._asked = 0
        self._closed = False
        self._models_first = False
        self.state: State = "off"
        self.lengths: LengthsKnown | None = None
        """The lengths that rows were measured at last."""

    def answer_to(self, post: Post, *kinds: Kind) -> None:
        """Post the answers to these kinds of questions there, and how the worker is."""
        self._posts |= dict.fromkeys(kinds, post)

    def start(self) -> None:
        """Start the worker if there is none; it imports for some seconds."""
        if self.state in ("starting", "ready"):
            return
        self.state = "starting"
        threading.Thread(target=self._start, name="inspector", daemon=True).start()

    def ask(self, kind: Kind, question: Callable[..., ToInspect], **values: Any) -> None:
        """Ask `question(id=..., **values)`; what is answered comes as `Answered`."""
        with self._lock:
            self._asked += 1
            id = f"{kind}-{self._asked}"
            self._call_off(kind)
            self._newest[kind] = self._last[kind] = id
            message = question(id=id, **values)
            if self._takes(kind):
                self._outbox.put(message)
            else:
                self._waiting[kind] = message

    def drop(self, kind: Kind) -> None:
        """Want no answer any more."""
        with self._lock:
            self._call_off(kind)

    def close(self) -> None:
        """End the worker. It would end by itself too, when its input closes with our process."""
        with self._lock:
            worker, self._worker, self._closed = self._worker, None, True
        self._outbox.put(None)
        if worker is not None:
            threading.Thread(target=worker.close, args=(1.0,), name="inspector-end").start()

    def _call_off(self, kind: str) -> None:
        from tui_lora.core.inspect import CancelInspect

        self._waiting.pop(kind, None)
        self._newest.pop(kind, None)
        before = self._last.pop(kind, None)
        if before is not None and self._takes(kind):
            self._outbox.put(CancelInspect(id=before))

    def _takes(self, kind: str) -> bool:
        early = kind in EARLY and self._worker is not None
        return self.state == "ready" or early or (kind == "model" and self._models_first)

    def _send_waiting(self) -> None:
        for kind in [kind for kind in self._waiting if self._takes(kind)]:
            self._outbox.put(self._waiting.pop(kind))

    def _start(self) -> None:
        # pydantic comes with these.
        from tui_lora.core.inspect import FROM_INSPECT, TO_INSPECT
        from tui_lora.store.launch import start_pipe_worker
        from tui_lora.store.pipe import PipeWorker

        outbox: queue.SimpleQueue[ToInspect | None] = queue.SimpleQueue()
        with self._lock:
            self._outbox = outbox
        try:
            process = start_pipe_worker("inspect", devices="cpu")
        except OSError as error:
            self._ended(-1, error.strerror or str(error))
            return
        worker = PipeWorker(
            process,
            sends=TO_INSPECT,
            hears=FROM_INSPECT,
            on_message=self._heard,
            on_end=self._ended,
        )
        with self._lock:
            self._worker, late = worker, self._closed
            self._send_waiting()
        if late:
            worker.close(1.0)
            return
        # A pipe that is full holds up this thread, never the screen.
        while (message := outbox.get()) is not None:
            worker.send(message)

    def _heard(self, answer: FromInspect) -> None:
        from tui_lora.core.inspect import (
            InspectReady,
            InspectWorking,
            LengthsMeasured,
            MemoryAdvised,
            MemoryForecast,
        )

        if isinstance(answer, InspectReady):
            with self._lock:
                self._models_first = True
                if not answer.models:
                    self.state = "ready"
                self._send_waiting()
            if not answer.models:
                self._post_all(lambda: InspectorChanged("ready"))
            return
        id: str | None = getattr(answer, "id", None)
        if id is None:
            self._post_all(lambda: Answered("", answer))
            return
        kind = id.partition("-")[0]
        with self._lock:
            if self._newest.get(kind) != id:
                return
            last = not isinstance(answer, InspectWorking)
            if isinstance(answer, LengthsMeasured | MemoryAdvised):
                last = answer.done
            elif isinstance(answer, MemoryForecast):
                last = answer.exact
            if last:
                del self._newest[kind]
        if kind in self._posts:
            self._posts[kind](Answered(kind, answer))

    def _post_all(self, made: Callable[[], Message]) -> None:
        # A message is posted once, so each screen gets one of its own.
        for post in dict.fromkeys(self._posts.values()):
            post(made())

    def _ended(self, code: int, words: str) -> None:
        with self._lock:
            self._worker, closed = None, self._closed
            self._newest.clear()
            self._last.clear()
            self._waiting.clear()
            self._outbox.put(None)
            self.state, self._models_first = "ended", False
        if not closed:
            last = words.splitlines()[-1] if words else f"exit code {code}"
            self._post_all(lambda: InspectorChanged("ended", last))
