"""Orders of viewers, heard by the worker: read as they come, carried out at a step's end."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

from tui_lora.core.orders import ORDERS, Order, SaveCheckpoint, Stop
from tui_lora.store.journal import Tail


class Inbox:
    """Made before the session's lock is taken, so that no order after that is missed.

    `stopping` turns true at a stop order or SIGTERM and stays so.
    """

    def __init__(self, path: Path) -> None:
        try:
            end = path.stat().st_size
        except OSError:
            end = 0
        self._tail = Tail(path, end)
        self._guard = threading.Lock()
        self._waiting: list[Order] = []
        self.stopping = False
        self.stop_reason = ""

    def listen_to_signals(self) -> None:
        """SIGTERM (a box that is being shut down) means stop; a hang-up means nothing."""
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def read(self) -> None:
        """Take in what was ordered since the last call."""
        with self._guard:
            for line in self._tail.read(1 << 20):
                order = ORDERS.decode(line).message
                if order is None:
                    continue
                self._waiting.append(order)
                if isinstance(order, Stop):
                    self.stopping, self.stop_reason = True, "as you asked"

    def take(self, kind: type[Order]) -> list[Order]:
        """The orders of one kind that wait, which no longer wait then."""
        self.read()
        with self._guard:
            taken = [order for order in self._waiting if isinstance(order, kind)]
            self._waiting = [order for order in self._waiting if not isinstance(order, kind)]
        return taken

    def wants_checkpoint(self) -> bool:
        self.read()
        with self._guard:
            return any(isinstance(order, SaveCheckpoint) for order in self._waiting)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self.stopping, self.stop_reason = True, "the system asked for it (SIGTERM)"
