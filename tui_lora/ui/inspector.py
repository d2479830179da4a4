"""The tokenizer worker as the Data screen sees it: one question at a time, the newest one next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from textual.message import Message

if TYPE_CHECKING:
    from tui_lora.core.inspect import FeedRow, FromInspect, ToInspect
    from tui_lora.store.pipe import PipeWorker

State = Literal["off", "starting", "ready", "ended"]


class InspectorChanged(Message):
    """The worker is ready, or it ended, with its last words."""

    def __init__(self, state: State, words: str = "") -> None:
        self.state = state
        self.words = words
        super().__init__()


class RowAnswered(Message):
    """A row as it will be fed, or why that cannot be."""

    def __init__(self, answer: FromInspect) -> None:
        self.answer = answer
        super().__init__()


class Inspector:
    """Starts the worker in a thread and posts what it says; never blocks its caller."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._worker: PipeWorker[ToInspect, FromInspect] | None = None
        self._next: FeedRow | None = None
        self._busy = True
        self._closed = False
        self.state: State = "off"

    def start(self) -> None:
        """Start the worker if there is none; it imports for about five seconds."""
        if self.state in ("starting", "ready"):
            return
        self.state, self._busy = "starting", True
        threading.Thread(target=self._start, name="inspector", daemon=True).start()

    def ask(self, question: FeedRow) -> None:
        """Ask now, or as soon as the worker is free; an older question that waits is dropped."""
        with self._lock:
            self._next = question
        self._send_next()

    def close(self) -> None:
        """End the worker. It would end by itself too, when its input closes with our process."""
        with self._lock:
            worker, self._worker, self._closed = self._worker, None, True
        if worker is not None:
            threading.Thread(target=worker.close, args=(1.0,), name="inspector-end").start()

    def _start(self) -> None:
        # pydantic comes with these.
        from tui_lora.core.inspect import FROM_INSPECT, TO_INSPECT
        from tui_lora.store.launch import start_pipe_worker
        from tui_lora.store.pipe import PipeWorker

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
            self._worker = worker
            late = self._closed
        if late:
            worker.close(1.0)
        self._send_next()

    def _heard(self, answer: FromInspect) -> None:
        from tui_lora.core.inspect import InspectReady

        with self._lock:
            self._busy = False
        if isinstance(answer, InspectReady):
            self.state = "ready"
            self._post(InspectorChanged("ready"))
        else:
            self._post(RowAnswered(answer))
        self._send_next()

    def _ended(self, code: int, words: str) -> None:
        with self._lock:
            self._worker, closed = None, self._closed
        self.state = "ended"
        if not closed:
            last = words.splitlines()[-1] if words else f"exit code {code}"
            self._post(InspectorChanged("ended", last))

    def _send_next(self) -> None:
        with self._lock:
            worker, question = self._worker, self._next
            if worker is None or question is None or self._busy:
                return
            self._next, self._busy = None, True
        worker.send(question)
