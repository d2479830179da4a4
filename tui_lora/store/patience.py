"""Sensors for whoever must not wait: a driver whose card has fallen off the bus may never answer.

The cards are asked in a thread of their own, one question at a time; while it is out, the machine
is still read, and after a few seconds the cards are said not to answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tui_lora.core.sensors import CardReading, SensorReading
from tui_lora.store.gpu import Sensors
from tui_lora.store.gpu_card import silent, unread

PATIENCE_S = 5.0


class PatientSensors:
    """`read` takes `patience_s` at most, and no time while an older question is still out.

    `wall` gives unix seconds. Its thread is a daemon: it may never come back.
    """

    def __init__(
        self,
        sensors: Sensors | None = None,
        *,
        patience_s: float = PATIENCE_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sensors = sensors or Sensors()
        self._patience_s, self._wall = patience_s, wall
        self._cards: tuple[CardReading, ...] | None = None
        self._asked_at = 0.0
        self._answered = threading.Event()
        self._answered.set()

    def read(self) -> SensorReading:
        """What is known now; of a driver that does not answer, that it does not, and since when."""
        overdue = not self._answered.is_set()
        if not overdue:
            self._answered.clear()
            self._asked_at = self._wall()
            threading.Thread(target=self._ask, daemon=True, name="sensors-cards").start()
        if self._answered.wait(0 if overdue else self._patience_s):
            return self._sensors.with_cards(self._cards or ())
        known = self._cards or (unread(0, "the card"),)
        return self._sensors.with_cards(tuple(silent(card, self._asked_at) for card in known))

    def _ask(self) -> None:
        try:
            self._cards = self._sensors.read_cards()
        finally:
            self._answered.set()
