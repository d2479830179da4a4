"""A worker on pipes for callers that wait for its answers, with a progress line meanwhile."""

from __future__ import annotations

import queue
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from tui_lora.core.errors import UserError
from tui_lora.core.text import one_line
from tui_lora.core.wire import Message, Wire
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.pipe import PipeWorker

Sent = TypeVar("Sent", bound=Message)
Heard = TypeVar("Heard", bound=Message)


@dataclass(frozen=True)
class _Ended:
    code: int
    words: str


class Questions(Generic[Sent, Heard]):
    """Used as a context manager; the worker ends with it, also when Ctrl-C ends the waiting."""

    def __init__(
        self, kind: str, *, sends: Wire[Sent], hears: Wire[Heard], devices: str = "cpu"
    ) -> None:
        self._kind = kind
        self._heard: queue.SimpleQueue[Heard | _Ended] = queue.SimpleQueue()
        try:
            process = start_pipe_worker(kind, devices=devices)
        except OSError as error:
            raise UserError(
                f"the {kind} worker could not be started: {error.strerror}.", exit_code=1
            ) from None
        self._worker: PipeWorker[Sent, Heard] = PipeWorker(
            process,
            sends=sends,
            hears=hears,
            on_message=self._heard.put,
            on_end=lambda code, words: self._heard.put(_Ended(code, words)),
        )

    def ask(self, question: Sent) -> Iterator[Heard]:
        """What the worker says from now on, until the caller has heard enough. Raises UserError
        when the worker ends."""
        self._worker.send(question)
        while True:
            message = self._heard.get()
            if isinstance(message, _Ended):
                last = message.words.splitlines()[-1] if message.words else "it said nothing"
                raise UserError(
                    f"the {self._kind} worker ended (exit code {message.code}): {last}",
                    exit_code=1,
                )
            yield message

    def __enter__(self) -> Questions[Sent, Heard]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing is lost by ending it at once.
        self._worker.close(0.5)


class ProgressLine:
    """One line on a terminal that is written over; nothing where nobody looks."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def say(self, text: str) -> None:
        if not self._shown:
            return
        room = shutil.get_terminal_size().columns - 1
        line = one_line(text, max_chars=room)
        sys.stderr.write(f"\r{line:<{self._width}}")
        sys.stderr.flush()
        self._width = len(line)

    def clear(self) -> None:
        if self._width:
            sys.stderr.write(f"\r{'':<{self._width}}\r")
            sys.stderr.flush()
            self._width = 0
