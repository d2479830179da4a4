"""A worker on pipes, seen from its viewer: typed messages in, typed messages out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from tui_lora.core.text import clean
from tui_lora.core.wire import Message, Wire
from tui_lora.store import launch

Sent = TypeVar("Sent", bound=Message)
Heard = TypeVar("Heard", bound=Message)


class PipeWorker(Generic[Sent, Heard]):
    """Reads a worker's messages in a thread and hands each to `on_message` there.

    `on_end` is called once, from that thread, with the exit code and the worker's last words on
    stderr. Closing ends the worker: it exits at the end of its input, and is killed if it does not
    within `patience_s`.
    """

    def __init__(
        self,
        process: launch.Process,
        *,
        sends: Wire[Sent],
        hears: Wire[Heard],
        on_message: Callable[[Heard], None],
        on_end: Callable[[int, str], None],
    ) -> None:
        self.process = process
        self.unreadable = 0
        self._sends, self._hears = sends, hears
        self._on_message, self._on_end = on_message, on_end
        self._stderr: deque[str] = deque(maxlen=40)
        self._closed = False
        self._errors = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._errors.start()
        self._reader.start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, message: Sent) -> bool:
        """Write one message; False when the worker is gone."""
        stream = self.process.stdin
        if stream is None or self._closed:
            return False
        try:
            stream.write(self._sends.encode(message).encode("utf-8", "replace"))
            stream.flush()
        except (OSError, ValueError):
            return False
        return True

    def close(self, patience_s: float = 2.0) -> None:
        """End the worker and wait for it; what it held is free when this returns."""
        self._closed = True
        launch.end(self.process, patience_s)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = self._hears.decode(line).message
            if message is None:
                self.unreadable += 1
            else:
                self._on_message(message)
        code = self.process.wait()
        self._errors.join(timeout=1)
        self._on_end(code, "\n".join(self._stderr))

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            text = clean(line.decode("utf-8", errors="replace")).rstrip()
            if text:
                self._stderr.append(text)
