"""Runs to be laid over each other, read from their folders; a live one is read on."""

from __future__ import annotations

import threading

from tui_lora.core.errors import UserError
from tui_lora.core.events import EVENTS
from tui_lora.core.overlaid import Run
from tui_lora.core.run_curve import RunCurve
from tui_lora.core.spec_differences import Side
from tui_lora.store import evaluations, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_sides import of_session

_NEEDLES = [
    f'"{name}"'.encode()
    for name in ("attempt_started", "step_done", "evaluated", "memory_measured")
]


class RunReader:
    """One session; `look` reads what came since the last time. Blocks, so ask in a thread; a second
    one waits for the first."""

    def __init__(self, paths: SessionPaths) -> None:
        self.paths = paths
        self._reading = threading.Lock()
        self._tail = Tail(paths.events)
        self._curve = RunCurve()
        self._side: Side | None = None
        self._problem = ""
        try:
            self._side = of_session(paths).side
        except UserError as error:
            self._problem = error.what

    def look(self) -> Run:
        """The run by now. Its curve is this reader's own and grows with the next look."""
        with self._reading:
            self._read_on()
        summary = sessions.summarize(self.paths)
        measured = (kept.evaluation for kept in evaluations.listed(self.paths) if kept.current)
        evaluation = next((one for one in measured if one.metrics), None)
        return Run(
            self.paths.name,
            summary.status.value,
            summary.status.alive,
            summary.task or "sft",
            self._curve,
            summary.step,
            summary.total_steps,
            self._side,
            self._problem,
            evaluation,
        )

    def _read_on(self) -> None:
        while lines := self._tail.read():
            if self._tail.restarted:
                self._tail.restarted = False
                self._curve = RunCurve()
            for line in lines:
                if any(needle in line for needle in _NEEDLES):
                    event = EVENTS.decode(line).message
                    if event is not None:
                        self._curve.apply(event)
