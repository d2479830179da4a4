"""The viewer's end of the fetch worker: one model on its way, whatever screen is shown.

Leaving the screen does not end it, leaving the program does: the worker goes with its input, and
what came is kept on disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from textual.message import Message
from textual.message_pump import MessagePump

from tui_lora.core.fetch import (
    FROM_FETCH,
    TO_FETCH,
    Fetched,
    FetchFailed,
    FetchPaused,
    FetchPlanned,
    FetchProgressed,
    FromFetch,
    ToFetch,
)
from tui_lora.core.text import clean

if TYPE_CHECKING:
    from textual.app import App

    from tui_lora.store.pipe import PipeWorker


@dataclass(frozen=True)
class FetchState:
    """What is being fetched, or was last. Unknown figures are None.

    `why` is what it waits for, `retry_s` how long; `problem` and `then` say why it did not come.
    """

    phase: Literal["off", "starting", "running", "paused", "done", "failed", "stopped"] = "off"
    id: str = ""
    files: int | None = None
    total_bytes: int | None = None
    done_bytes: int | None = None
    bytes_per_s: float | None = None
    seconds: float | None = None
    why: str = ""
    retry_s: float | None = None
    problem: str = ""
    then: str = ""

    @property
    def alive(self) -> bool:
        return self.phase in ("starting", "running", "paused")

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the present rate."""
        if not self.bytes_per_s or self.total_bytes is None or self.done_bytes is None:
            return None
        return (self.total_bytes - self.done_bytes) / self.bytes_per_s


class FetchChanged(Message, bubble=False):
    """More of a model is here, or no more will come."""

    def __init__(self, state: FetchState) -> None:
        self.state = state
        super().__init__()

    def can_replace(self, message: Message) -> bool:
        # The last word on one fetch must not be lost to the first of the next.
        return isinstance(message, FetchChanged) and message.state.alive


class FetchLink:
    """Starts, stops, and tells its listeners; all but starting and ending in the UI's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.state = FetchState()
        self._loop = loop
        self._listeners: list[MessagePump] = []
        self._worker: PipeWorker[ToFetch, FromFetch] | None = None
        self._serial = 0

    def tell(self, listener: MessagePump) -> None:
        """Post what happens to `listener` from now on."""
        self._listeners.append(listener)

    def forget(self, listener: MessagePump) -> None:
        self._listeners.remove(listener)

    def fetch(self, hub_id: str) -> None:
        """Begin, unless a model is on its way already."""
        if self.state.alive:
            return
        self._serial += 1
        self._put(FetchState("starting", hub_id))
        args = (hub_id, self._serial)
        threading.Thread(target=self._start, args=args, name="fetch-start", daemon=True).start()

    def stop(self) -> None:
        """End the worker; what came is kept for the next time."""
        if self.state.alive:
            self._serial += 1
            self._put(replace(self.state, phase="stopped", bytes_per_s=None, why=""))
            self._end()

    def dismiss(self) -> None:
        """No longer show how the last one ended."""
        if not self.state.alive:
            self._put(FetchState())

    def _start(self, hub_id: str, serial: int) -> None:
        from tui_lora.store.launch import start_pipe_worker
        from tui_lora.store.pipe import PipeWorker

        def heard(message: FromFetch) -> None:
            self._hand_over(lambda: self._heard(serial, message))

        def ended(code: int, words: str) -> None:
            self._hand_over(lambda: self._ended(serial, words))

        try:
            worker: PipeWorker[ToFetch, FromFetch] = PipeWorker(
                start_pipe_worker("fetch", hub_id, devices="cpu"),
                sends=TO_FETCH,
                hears=FROM_FETCH,
                on_message=heard,
                on_end=ended,
            )
        except OSError as error:
            why = f"the fetch worker could not be started: {error.strerror}."
            self._hand_over(lambda: self._fail(serial, why))
            return
        self._hand_over(lambda: self._started(serial, worker))

    def _hand_over(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the UI has left
            self._loop.call_soon_threadsafe(call)

    def _started(self, serial: int, worker: PipeWorker[ToFetch, FromFetch]) -> None:
        self._worker = worker
        if serial != self._serial or not self.state.alive:
            self._end()

    def _heard(self, serial: int, message: FromFetch) -> None:
        if serial != self._serial:
            return
        now = self.state
        match message:
            case FetchPlanned():
                total, here = message.total_bytes, message.here_bytes
                self._put(
                    replace(
                        now,
                        phase="running",
                        files=message.files,
                        total_bytes=total,
                        done_bytes=here,
                    )
                )
            case FetchProgressed(done_bytes=done, bytes_per_s=rate):
                self._put(replace(now, phase="running", done_bytes=done, bytes_per_s=rate, why=""))
            case FetchPaused():
                why, retry_s = message.why, message.retry_s
                self._put(replace(now, phase="paused", bytes_per_s=None, why=why, retry_s=retry_s))
            case Fetched():
                done = message.total_bytes
                self._put(
                    replace(now, phase="done", done_bytes=done, seconds=message.seconds, why="")
                )
            case FetchFailed():
                self._put(replace(now, phase="failed", problem=message.message, then=message.then))
            case _:
                pass

    def _ended(self, serial: int, words: str) -> None:
        if serial == self._serial and self.state.alive:
            last = clean(words.strip().splitlines()[-1], max_chars=200) if words.strip() else ""
            self._fail(serial, f"the fetch worker ended. {last}".strip())

    def _fail(self, serial: int, why: str) -> None:
        if serial == self._serial:
            self._put(replace(self.state, phase="failed", problem=why))

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            # Not a daemon: leaving waits until the worker is gone.
            threading.Thread(target=worker.close, name="fetch-end").start()

    def _put(self, state: FetchState) -> None:
        self.state = state
        for listener in self._listeners:
            listener.post_message(FetchChanged(state))


_LINKS: WeakKeyDictionary[App[object], FetchLink] = WeakKeyDictionary()


def fetch_of(app: App[object]) -> FetchLink:
    """The app's one link: two fetches at once would only halve each other's line."""
    if app not in _LINKS:
        _LINKS[app] = FetchLink(asyncio.get_running_loop())
    return _LINKS[app]
