"""A run in progress lines: for pipes, CI, and any terminal. Reads the session's files only."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tui_lora.core.metrics import BY_NAME, IN_SHORT, figure
from tui_lora.core.status import Status
from tui_lora.core.text import clean, count, duration, escaped, number, rate
from tui_lora.core.view import RunView
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import fold, status_of

Print = Callable[[str], None]

_POLL_S = 0.25
_STEP_LINE_S = 2.0
_WAIT_LINE_S = 10.0


def follow(paths: SessionPaths, say: Print, *, raw: bool = False) -> Status:
    """Print the run from its beginning until its worker ends; returns the status then.

    `raw` prints the event lines as JSON. KeyboardInterrupt is the caller's: the run goes on.
    """
    with _interrupts() as interrupted:
        return _follow(paths, say, raw, interrupted)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Remember Ctrl-C: the exception alone is lost where foreign code swallows it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def remember(*_: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(paths: SessionPaths, say: Print, raw: bool, interrupted: threading.Event) -> Status:
    tail = Tail(paths.events)
    view = RunView()
    teller = _Teller(say)
    while True:
        if interrupted.is_set():
            raise KeyboardInterrupt
        alive = status_of(paths, view).alive
        while lines := tail.read():
            for line in lines:
                fold([line], view)
                if raw:
                    say(escaped(line.decode("utf-8", errors="replace")))
                else:
                    teller.tell(view, live=alive)
        if not raw:
            teller.idle(view)
        if not alive:
            # What the worker wrote between the last read and its end has been read above: the
            # status was asked first.
            status = status_of(paths, view)
            if not status.alive:
                if not raw:
                    teller.finish(view)
                return status
        time.sleep(_POLL_S)


class _Teller:
    """Decides what of a view is worth a line, and when."""

    def __init__(self, say: Print) -> None:
        self._say = say
        self._log_lines = 0
        self._phase = ""
        self._step = -1
        self._last_step_line = 0.0
        self._last_line = time.monotonic()

    def tell(self, view: RunView, *, live: bool) -> None:
        new = view.log_lines - self._log_lines
        self._log_lines = view.log_lines
        if new:
            self._pending_step(view)
            for entry in list(view.log)[-min(new, len(view.log)) :]:
                mark = {"warning": "! ", "error": "!! "}.get(entry.level, "")
                self._line(
                    f"{time.strftime('%H:%M:%S', time.localtime(entry.t))}  {mark}{entry.text}"
                )
        phase = view.phase
        if phase is not None and phase.name != self._phase:
            expect = f" (about {duration(phase.expect_s)})" if phase.expect_s else ""
            self._line(f"{phase.label}{expect} …")
        self._phase = phase.name if phase is not None else ""
        first = view.last_step is not None and self._step < 0
        due = time.monotonic() - self._last_step_line >= _STEP_LINE_S
        last = view.total_steps is not None and view.step == view.total_steps
        if (first or due or last) and live:
            self._pending_step(view)

    def idle(self, view: RunView) -> None:
        """Say that a long phase still goes on, every ten seconds of silence."""
        if time.monotonic() - self._last_line < _WAIT_LINE_S or view.phase is None:
            return
        phase = view.phase
        how_far = ""
        if phase.done is not None and phase.total:
            how_far = f", {phase.done:,.0f} of {phase.total:,.0f} {phase.unit}"
        self._line(f"{phase.label}: {duration(time.time() - phase.since)}{how_far} …")

    def finish(self, view: RunView) -> None:
        self._pending_step(view)

    def _pending_step(self, view: RunView) -> None:
        step = view.last_step
        if step is None or view.step == self._step:
            return
        self._step = view.step
        self._last_step_line = time.monotonic()
        width = len(f"{view.total_steps or 0:,}")
        of = f" of {view.total_steps:,}" if view.total_steps else ""
        held_out = view.tuned_eval.loss if view.tuned_eval else None
        self._line(
            f"step {view.step:>{width},}{of}   loss {number(view.loss.latest):>5}   "
            f"eval {number(held_out):>5}   {_metrics(view)}"
            f"rate {rate(view.learning_rate.latest)}   "
            f"{count(step.tokens_per_s)} tok/s   "
            f"{number(step.peak_reserved_gib or step.process_gib)} GiB   "
            f"{duration(step.eta_s)} left"
        )

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._say(text)


def _metrics(view: RunView) -> str:
    """What the task has beside the loss: of trained rows, else as it was last measured."""
    measured = view.tuned_eval.metrics if view.tuned_eval else {}
    trained = view.last_step.metrics if view.last_step else {}
    return "".join(
        f"{BY_NAME[name].label} {figure(name, trained.get(name, measured.get(name))):>6}   "
        for name in IN_SHORT
        if name in trained or name in measured
    )


def to_stdout(text: str, *, styled: bool = False) -> None:
    """One line, at once, also into a pipe. Whatever steers a terminal is taken out of it, but where
    it is `styled` by us."""
    sys.stdout.write((text if styled else clean(text)) + "\n")
    sys.stdout.flush()


def to_stderr(text: str) -> None:
    """The same where what is printed may go into a pipe."""
    sys.stderr.write(f"{clean(text)}\n")
    sys.stderr.flush()
