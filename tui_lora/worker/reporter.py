"""The worker's voice: events into the session's log, numbered, never more often than useful."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tui_lora.core.events import (
    EVENTS,
    AttemptFinished,
    AttemptStarted,
    Event,
    Heartbeat,
    Notice,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    StepDone,
)
from tui_lora.core.text import clean
from tui_lora.store.journal import Appender, last_lines

STEP_EVERY_S = 0.5
PROMISE_S = 15.0
_BEAT_EVERY_S = 5.0
_PASSING = (StepDone, Heartbeat, PhaseProgressed)
"""What a full disk may cost: the next of its kind tells more. All else is written once it can be.
"""
_MOST_OWED = 200


class Teller(ABC):
    """What the parts of a run tell of themselves, whoever hears it."""

    def __init__(self) -> None:
        self._last_progress = float("-inf")

    @abstractmethod
    def say(self, event: Event) -> None:
        """Tell an event."""

    def notice(self, text: str, level: str = "info") -> None:
        self.say(Notice(level=level, text=clean(text)))  # type: ignore[arg-type]

    @contextmanager
    def phase(self, name: str, label: str, expect_s: float | None = None) -> Iterator[None]:
        """Report the beginning and the end of a part of the work."""
        began = time.monotonic()
        self.say(PhaseStarted(name=name, label=clean(label), expect_s=expect_s))
        try:
            yield
        finally:
            self.say(PhaseFinished(name=name, seconds=time.monotonic() - began))

    def progress(self, name: str, done: float, total: float | None, unit: str = "") -> None:
        """How far a phase is; at most twice a second."""
        now = time.monotonic()
        if now - self._last_progress >= STEP_EVERY_S:
            self._last_progress = now
            self.say(PhaseProgressed(name=name, done=done, total=total, unit=unit))


class Reporter(Teller):
    """Writes events, from `begin` on; safe to call from any thread.

    Steps come at most twice a second: one that is held back is written as soon as anything else
    is, or dropped for the next; one with a loss is never dropped for one without. A thread of its
    own keeps the promise of a sign of life.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._log = Appender(path)
        self._seq = _last_seq(path)
        self._guard = threading.Lock()
        self._held: StepDone | None = None
        self._owed: deque[Event] = deque(maxlen=_MOST_OWED)
        self._lost = 0
        self._last_step = float("-inf")
        self._last_sign = time.monotonic()
        self._closed = threading.Event()
        self._beat = threading.Thread(target=self._keep_promise, daemon=True, name="heartbeat")

    def begin(self, event: AttemptStarted) -> None:
        """Write an attempt's first event; from here on signs of life are promised."""
        self.say(event)
        self._beat.start()

    def say(self, event: Event) -> None:
        """Write one event, with what was held back before it."""
        with self._guard:
            if self._held is not None:
                self._write(self._held)
                self._held = None
            self._write(event, durable=isinstance(event, AttemptFinished))

    def step(self, event: StepDone, *, always: bool = False) -> None:
        """Report a step, or hold it back when the last one was less than half a second ago."""
        with self._guard:
            now = time.monotonic()
            if self._held is not None and self._held.loss is not None and event.loss is None:
                event = self._held
            if always or now - self._last_step >= STEP_EVERY_S:
                self._held = None
                self._last_step = now
                self._write(event)
            else:
                self._held = event

    @contextmanager
    def silence(self) -> Iterator[None]:
        """While this is open no other thread writes, so none is cut off within a line."""
        with self._guard:
            yield

    def close(self) -> None:
        self._closed.set()
        self._beat.join(timeout=1)
        self._log.close()

    def _write(self, event: Event, *, durable: bool = False) -> None:
        waiting = [*self._owed, event]
        self._owed.clear()
        while waiting:
            if not self._append(waiting[0], durable=durable and len(waiting) == 1):
                self._owed.extend(one for one in waiting if not isinstance(one, _PASSING))
                self._lost += isinstance(event, _PASSING)
                return
            waiting.pop(0)
        if self._lost:
            lost, self._lost = self._lost, 0
            words = f"{lost:,} events could not be written: the disk was full"
            self._write(Notice(level="warning", text=words))

    def _append(self, event: Event, *, durable: bool = False) -> bool:
        self._seq += 1
        self._last_sign = time.monotonic()
        stamped = event.model_copy(
            update={"seq": self._seq, "t": round(time.time(), 3), "mono": round(self._last_sign, 3)}
        )
        return self._log.append(EVENTS.encode(stamped), durable=durable)

    def _keep_promise(self) -> None:
        self.say(Heartbeat(next_s=PROMISE_S))
        while not self._closed.wait(1.0):
            if time.monotonic() - self._last_sign >= _BEAT_EVERY_S:
                self.say(Heartbeat(next_s=PROMISE_S))


def _last_seq(path: Path) -> int:
    """The highest number in the log's last lines; what is torn or foreign there is skipped."""
    lines, _ = last_lines(path, 1 << 16)
    seqs = [m.seq for line in lines if (m := EVENTS.decode(line).message) is not None]
    return max(seqs, default=0)
