"""The ladder for a worker that does not listen: the order, then SIGTERM, then SIGKILL.

Nobody climbs by himself here: whoever holds a ladder looks at the time, and calls `climb`. What
was sent is noted in the session (`store/signalled.py`), so that all viewers stand on one rung.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tui_lora.core.orders import Discard, Order, Pause, Stop
from tui_lora.core.text import duration
from tui_lora.core.view import RunView
from tui_lora.store import launch
from tui_lora.store.paths import SessionPaths
from tui_lora.store.signals_sent import Sent

LEAST_S = 30.0
UNKNOWN_S = 120.0
"""How long to wait where nobody knows how long the work at hand takes."""
SAVING_S = 60.0
KILLED_S = 5.0
"""By then a killed process is gone; one that is stuck in a driver is not."""


class Rung(StrEnum):
    """What was done so far to end the run."""

    ORDERED = "ordered"
    TERMINATED = "terminated"
    KILLED = "killed"


SIGNALS = {Rung.TERMINATED: signal.SIGTERM, Rung.KILLED: signal.SIGKILL}


@dataclass(frozen=True)
class Patience:
    """How many seconds to wait before the next rung is worth a thought, and what for."""

    seconds: float
    why: str


@dataclass(frozen=True)
class Ladder:
    """`rung` stands `since` (unix seconds); `order` is what was asked at its foot."""

    order: Order
    since: float
    rung: Rung = Rung.ORDERED

    @property
    def next(self) -> Rung | None:
        """What comes after this. Whoever wants nothing saved wants no SIGTERM, which saves."""
        if self.rung is Rung.KILLED:
            return None
        if self.rung is Rung.TERMINATED or isinstance(self.order, Discard):
            return Rung.KILLED
        return Rung.TERMINATED

    def until(self, view: RunView) -> float:
        """When to think of the next rung, in unix seconds. A save that began since counts anew:
        whoever saves has listened."""
        if self.rung is Rung.KILLED:
            return self.since + KILLED_S
        if isinstance(self.order, Discard):
            # It waits for no step.
            return self.since + LEAST_S
        since = self.since
        if view.phase is not None and view.phase.name == "saving":
            since = max(since, view.phase.since)
        return since + patience(view).seconds


def begun(orders: Sequence[Order], signals: Sequence[Sent] = ()) -> Ladder | None:
    """The ladder of the orders that wait and of the signals that the worker was sent; None where
    nobody wants the run to end. The last word counts, but what is to be discarded is not saved any
    more."""
    ending = [order for order in orders if isinstance(order, (Stop, Pause, Discard))]
    if not ending:
        return None
    order = next((order for order in ending if isinstance(order, Discard)), ending[-1])
    # Who asks twice for the same has waited since the first time.
    since = next(first.t for first in ending if isinstance(first, type(order)))
    for rung in (Rung.KILLED, Rung.TERMINATED):
        # The first of its kind: who sends it again has waited since then.
        for sent in signals:
            if sent.name == SIGNALS[rung].name:
                return Ladder(order, max(since, sent.t), rung)
    return Ladder(order, since)


def patience(view: RunView) -> Patience:
    """How long an order may take by what was measured of this run, and in words what it waits for;
    never under half a minute."""
    phase, step = view.phase, view.last_step
    saved_s = view.checkpoint.seconds if view.checkpoint is not None else 0.0
    if phase is not None and phase.name == "saving":
        return Patience(max(SAVING_S, 4 * saved_s), "it is saving")
    if view.holding:
        return Patience(LEAST_S, "it is holding, so this takes no step")
    if phase is not None and phase.name == "evaluating":
        # Nothing is heard before all held-out rows are measured.
        took = view.last_eval.seconds if view.last_eval is not None else None
        if took is None:
            return Patience(UNKNOWN_S, "it is measuring the held-out rows")
        why = f"it is measuring the held-out rows, which took {duration(took)} before"
        return Patience(max(LEAST_S, 2 * took), why)
    if step is not None and step.step_s is not None:
        why = f"a step takes about {duration(step.step_s)}"
        if saved_s >= 1.0:
            why += f", a checkpoint {duration(saved_s)}"
        return Patience(max(LEAST_S, 3 * step.step_s + 2 * saved_s), why)
    if phase is not None and phase.expect_s:
        why = f"{phase.label} takes about {duration(phase.expect_s)}"
        return Patience(max(LEAST_S, 2 * phase.expect_s), why)
    if phase is not None:
        return Patience(UNKNOWN_S, f"{phase.label}: nobody knows how long that takes")
    return Patience(UNKNOWN_S, "no step was taken yet")


def climb(paths: SessionPaths, ladder: Ladder, now: float) -> Ladder:
    """Do what the next rung says at `now` (unix seconds); at the top nothing.

    Raises UserError where the worker cannot be signalled.
    """
    rung = ladder.next
    if rung is None:
        return ladder
    launch.signal_worker(paths, SIGNALS[rung])
    return replace(ladder, rung=rung, since=now)
