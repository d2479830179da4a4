"""A pipe worker's end of its pipes: typed messages on stdin and stdout, and nothing else there."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tui_lora.core.wire import Message, Wire

Said = TypeVar("Said", bound=Message)
Heard = TypeVar("Heard", bound=Message)


class Stdio(Generic[Said, Heard]):
    """Takes stdin and stdout over for the protocol; made before anything heavy is imported.

    From then on file descriptor 1 leads to stderr, so that no library's print gets between the
    lines, and descriptor 0 to nothing.
    """

    def __init__(self, *, says: Wire[Said], hears: Wire[Heard]) -> None:
        self._says, self._hears = says, hears
        sys.stdout.flush()
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb")
        self._guard = threading.Lock()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)

    def say(self, message: Said) -> None:
        """Write one message, from any thread; a viewer that is gone ends the process."""
        line = self._says.encode(message).encode("utf-8", errors="replace")
        try:
            with self._guard:
                self._out.write(line)
                self._out.flush()
        except OSError:
            os._exit(0)

    def listen(
        self, on_message: Callable[[Heard], None], at_end: Callable[[], object] = lambda: None
    ) -> None:
        """Hand each message to `on_message`, in a thread of its own, until the input ends.

        Then the process exits at once, whatever its other threads are in the middle of: the viewer
        is gone, and the card should be free. `at_end` is called before that, and must not block.
        """
        heard = (on_message, at_end)
        threading.Thread(target=self._listen, args=heard, daemon=True, name="ear").start()

    def _listen(self, on_message: Callable[[Heard], None], at_end: Callable[[], object]) -> None:
        try:
            for line in self._in:
                message = self._hears.decode(line).message
                if message is not None:
                    on_message(message)
        finally:
            try:
                at_end()
            finally:
                # Not sys.exit: that would wait for loading and answering threads and for torch.
                os._exit(0)
