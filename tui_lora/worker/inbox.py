"""Orders of viewers, heard by the worker: read as they come, carried out at a step's end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Literal

from tui_lora.core.orders import ORDERS, Discard, GoOn, Hold, Order, Pause, SaveCheckpoint, Stop
from tui_lora.store.journal import Tail

AS_YOU_ASKED = "as you asked"
_BY_SIGNAL = "SIGTERM"

Ending = Literal["stop", "pause", "discard"]

_ENDINGS: dict[type[Order], Ending] = {Stop: "stop", Pause: "pause", Discard: "discard"}


class Inbox:
    """Made before the session's lock is taken, so that no order after that is missed; or where an
    inbox before it had `heard` the orders so far, in bytes.

    `ending` says how the run is to end, once something wants it to: the last word counts, but a
    run that is to be discarded is not saved any more, and a signal makes no stop of a pause.
    `signalled` tells whether a viewer sent this
    process a SIGTERM. `holding` is true between a hold and what ends it.
    """

    def __init__(
        self,
        path: Path,
        heard: int | None = None,
        signalled: Callable[[], bool] = lambda: False,
    ) -> None:
        if heard is None:
            try:
                heard = path.stat().st_size
            except OSError:
                heard = 0
        self._tail = Tail(path, heard)
        self._signalled = signalled
        self._guard = threading.Lock()
        self._waiting: list[Order] = []
        self._ids: set[str] = set()
        self.ending: Ending | None = None
        self.holding = False
        self._by_signal = False
        self._reason = ""

    def listen_to_signals(self) -> None:
        """SIGTERM (a box that is being shut down) means stop; a hang-up means nothing."""
        signal.signal(signal.SIGTERM, self._terminated)
        # It was held back where this process has just become a new worker.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    @property
    def stopping(self) -> bool:
        """Whether the run is to end after this step, or at once."""
        return self.ending is not None

    @property
    def stop_reason(self) -> str:
        """Why it is to end, for people; empty where it is not."""
        if self._reason != _BY_SIGNAL:
            return self._reason
        who = "a viewer" if self._signalled() else "the system"
        return f"{who} asked for it ({_BY_SIGNAL})"

    @property
    def terminated(self) -> bool:
        """Whether the system ends it (a box that is taken away), and no viewer."""
        return self._by_signal and not self._signalled()

    @property
    def discarding(self) -> bool:
        return self.ending == "discard"

    def end(self, how: Ending, reason: str) -> None:
        """Let the run end, as an order would."""
        if self.ending != "discard":
            self.ending, self._reason = how, reason
        self.holding = False

    @property
    def heard(self) -> int:
        """How far the orders were read, in bytes."""
        return self._tail.offset

    def read(self) -> None:
        """Take in what was ordered since the last call."""
        with self._guard:
            for line in self._tail.read(1 << 20):
                order = ORDERS.decode(line).message
                if order is None or order.id in self._ids:
                    continue
                self._ids.add(order.id)
                self._waiting.append(order)
                if type(order) in _ENDINGS:
                    self.end(_ENDINGS[type(order)], AS_YOU_ASKED)
                elif isinstance(order, Hold | GoOn):
                    self.holding = isinstance(order, Hold) and self.ending is None

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
        # Whose it was is looked up later: a viewer notes it down as it sends it.
        self._by_signal = True
        if self.ending == "pause":
            # It ends, as a stop would have it; and whoever paused it wants the card back.
            self.holding = False
        else:
            self.end("stop", _BY_SIGNAL)
