"""The chat worker's process as the UI holds it: one at a time, started and ended in threads.

Its pipe's reading thread only hands messages over, an answer's text at most four times a second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tui_lora.core.chat import FROM_CHAT, TO_CHAT, FromChat, ToChat
from tui_lora.store.pipe import PipeWorker
from tui_lora.ui.chat_facts import Growing, last_words

Pipe = PipeWorker[ToChat, FromChat]


class ChatProcess:
    """Calls `heard` and `gone` (with why) in the UI's thread, never for a process before this."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[FromChat], object],
        gone: Callable[[str], object],
    ) -> None:
        self.pipe: Pipe | None = None
        self._loop, self._told, self._went = loop, heard, gone
        self._serial = 0
        self._unsent: list[ToChat] = []

    def send(self, message: ToChat) -> None:
        """Say it now, or once there is somebody to say it to."""
        if self.pipe is None:
            self._unsent.append(message)
        else:
            self.pipe.send(message)

    def restart(self, start: Callable[[], Any]) -> bool:
        """Have `start` make a process, once the one before is gone; True where there was one."""
        before = self._forget()
        args = (start, before, self._serial)
        threading.Thread(target=self._start, args=args, name="chat-start", daemon=True).start()
        return before is not None

    def close(self) -> None:
        """End it; what it held is free a moment later."""
        pipe = self._forget()
        if pipe is not None:
            # Not a daemon: leaving waits until the worker is gone.
            threading.Thread(target=pipe.close, name="chat-end").start()

    def _forget(self) -> Pipe | None:
        pipe, self.pipe = self.pipe, None
        self._serial += 1
        self._unsent.clear()
        return pipe

    def _start(self, start: Callable[[], Any], before: Pipe | None, serial: int) -> None:
        if before is not None:
            before.close()
        grown = Growing()

        def heard(message: FromChat) -> None:
            due = grown.due(message)
            if due is not None:
                self._hand_over(lambda: self._heard(serial, due))

        def ended(code: int, words: str) -> None:
            self._hand_over(lambda: self._gone(serial, last_words(code, words)))

        try:
            pipe: Pipe = PipeWorker(
                start(), sends=TO_CHAT, hears=FROM_CHAT, on_message=heard, on_end=ended
            )
        except OSError as error:
            why = f"the chat worker could not be started: {error.strerror}."
            self._hand_over(lambda: self._gone(serial, why))
            return
        self._hand_over(lambda: self._started(serial, pipe))

    def _hand_over(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the UI has left
            self._loop.call_soon_threadsafe(call)

    def _started(self, serial: int, pipe: Pipe) -> None:
        if serial != self._serial:
            threading.Thread(target=pipe.close, name="chat-end").start()
            return
        self.pipe = pipe
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self.send(message)

    def _heard(self, serial: int, message: FromChat) -> None:
        if serial == self._serial:
            self._told(message)

    def _gone(self, serial: int, why: str) -> None:
        if serial == self._serial:
            self.pipe = None
            self._serial += 1
            self._went(why)
