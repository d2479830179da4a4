"""What was asked of a session's worker and is not answered yet, whoever asked."""

from __future__ import annotations

from collections import deque

from tui_lora.core.orders import ORDERS, Order
from tui_lora.core.view import RunView
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths

REMEMBERED = 200
SOONER_S = 1.0
"""An order is given when the lock is held, which is before the attempt's first event."""


class OrdersGiven:
    """The orders in a session's orders.jsonl; `look` takes in what came since the last call."""

    def __init__(self, paths: SessionPaths) -> None:
        self._tail = Tail(paths.orders)
        self._orders: deque[Order] = deque(maxlen=REMEMBERED)

    def look(self) -> bool:
        """Whether there were new ones."""
        found = False
        while lines := self._tail.read():
            if self._tail.restarted:
                self._tail.restarted = False
                self._orders.clear()
            read = [ORDERS.decode(line).message for line in lines]
            self._orders.extend(order for order in read if order is not None)
            found = True
        return found

    def waiting(self, view: RunView) -> tuple[Order, ...]:
        """Those that the latest attempt has not answered, the oldest first."""
        began = (view.attempt_started_t or 0.0) - SOONER_S
        return tuple(
            order for order in self._orders if order.t >= began and order.id not in view.answers
        )


def waiting(paths: SessionPaths, view: RunView) -> tuple[Order, ...]:
    """The orders that the session's worker has not answered yet, by all that `view` has seen."""
    given = OrdersGiven(paths)
    given.look()
    return given.waiting(view)
