"""The verbs that steer a run: pause, hold, go-on, checkpoint, stop, extend. Each gives an order,
waits for what comes of it, and returns an exit code. Ctrl-C leaves the order standing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui_lora.core.control_words import ago, freed_words, lost_words, ordered
from tui_lora.core.errors import UserError
from tui_lora.core.extension import Extension, by_epochs, by_steps
from tui_lora.core.orders import ChangeSpec, Discard, GoOn, Hold, Order, Pause, SaveCheckpoint, Stop
from tui_lora.core.status import Status
from tui_lora.core.text import clean, duration, rate
from tui_lora.core.view import RunView
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.start_again import start_again
from tui_lora.headless.verbs import EXIT_CODES, follow_to_end, print_progress
from tui_lora.store import lock, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.ladder import SIGNALS, Ladder, Rung, begun, climb, patience
from tui_lora.store.orders import waiting
from tui_lora.store.paths import SessionPaths
from tui_lora.store.signals_sent import sent_since
from tui_lora.store.spec_now import spec_now

POLL_S = 0.1
PATIENT_S = 600.0
"""So long a stop is waited for where nobody said when to kill."""
STUCK_S = 30.0
CURVE_COLUMNS = 40


class _Run:
    """A session and what its events add up to, the newest too."""

    def __init__(self, root: Path, name: str) -> None:
        self.paths = sessions.find(root, name)
        here = self.paths.events.stat().st_size if self.paths.events.exists() else 0
        self._tail = Tail(self.paths.events, here)
        lines, _ = sessions.first_and_last(self.paths)
        self.view = sessions.fold(lines, RunView())

    def look(self) -> bool:
        """Take in what is new; whether the worker lived before that."""
        alive = lock.holder(self.paths.lock) is not None
        sessions.fold(self._tail.read(), self.view)
        return alive

    def status(self) -> Status:
        return sessions.status_of(self.paths, self.view)

    def must_run(self) -> None:
        """Raises UserError where nobody lives who could be asked."""
        status, name = self.status(), self.paths.name
        if status.alive:
            return
        then = f"Start it: tui-lora resume {name}" if status.resumable else ""
        raise UserError(f"{name} is not running ({status}), so there is nobody to ask.", then=then)


def stop(
    root: Path,
    name: str,
    *,
    discard: bool = False,
    yes: bool = False,
    kill_after: float | None = None,
) -> int:
    """End a run and wait until its worker is gone. `discard`: at once, and nothing is saved, which
    has to be confirmed. After `kill_after` seconds without an end SIGTERM, after as many more
    SIGKILL."""
    run = _Run(root, name)
    run.must_run()
    if discard:
        _confirm(run, yes)
        return _ended(run, Discard, f"{name}: asked to end at once; nothing is saved.", kill_after)
    said = f"{name}: asked to stop; it finishes its step and saves."
    return _ended(run, Stop, said, kill_after)


def pause(root: Path, name: str, *, kill_after: float | None = None) -> int:
    """Save a checkpoint, end the worker, free its card; `resume` goes on at the same step.
    `kill_after` as for `stop`: a signal makes no stop of a pause."""
    run = _Run(root, name)
    run.must_run()
    said = f"{name}: asked to pause; it finishes its step, saves a checkpoint and ends."
    return _ended(run, Pause, said, kill_after)


def hold(root: Path, name: str) -> int:
    """Let a run wait after its step with everything loaded."""
    run = _Run(root, name)
    run.must_run()
    if run.status() is Status.HOLDING:
        to_stdout(f"{name} is holding already; everything stays loaded. Go on: {_go_on(name)}")
        return 0
    code = _answered(run, Hold, f"{name}: asked to hold at the end of its step.")
    if code == 0 and run.view.holding:
        to_stdout(f"{name}: everything stays loaded. Go on: {_go_on(name)}")
    return code


def go_on(root: Path, name: str) -> int:
    """Let a held run train on."""
    run = _Run(root, name)
    if run.status() is Status.PAUSED:
        raise UserError(
            f"{name} is paused, not held: its worker has ended.",
            then=f"Start it again: tui-lora resume {name}",
        )
    run.must_run()
    if run.status() is Status.RUNNING:
        to_stdout(f"{name} is not holding: it trains.")
        return 0
    return _answered(run, GoOn, f"{name}: asked to go on.")


def checkpoint(root: Path, name: str) -> int:
    """Order a checkpoint and wait for the worker's answer."""
    run = _Run(root, name)
    run.must_run()
    said = f"{name}: asked for a checkpoint; it comes at the end of the step."
    return _answered(run, SaveCheckpoint, said)


def extend(
    root: Path, name: str, *, epochs: float | None, max_steps: int | None, detach: bool = False
) -> int:
    """Make a run longer: a running one from its next step on, an ended one by resuming it."""
    if (epochs is None) == (max_steps is None):
        raise UserError(
            "give one of --epochs and --max-steps.",
            then=f"For example: tui-lora extend {name} --epochs 5",
        )
    run = _Run(root, name)
    found = _longer(run, epochs, max_steps)
    for line in _told(name, found):
        to_stdout(line)
    if run.status().alive:
        said = f"{name}: asked to be longer; it saves, loads anew and goes on."
        return _answered(run, ChangeSpec, said, changes=dict(found.changes))
    start_again(run.paths, found.changes, "made longer, as asked", print_progress())
    if detach:
        to_stdout(f"{name} runs on its own. Watch it: tui-lora watch {name}")
        return 0
    return follow_to_end(run.paths)


def _go_on(name: str) -> str:
    return f"tui-lora go-on {name}"


def _longer(run: _Run, epochs: float | None, max_steps: int | None) -> Extension:
    view, name = run.view, run.paths.name
    if view.plan is None:
        raise UserError(
            f"how long {name} is was never reckoned: it has not got so far as to train.",
            then="Set it where it starts: "
            f"tui-lora train {name} --set training.{_as_setting(epochs, max_steps)}",
        )
    spec = spec_now(run.paths)
    saved = view.checkpoint_steps
    step = view.step if run.status().alive or not saved else saved[-1]
    if epochs is not None:
        return by_epochs(spec, view.plan, step, epochs)
    assert max_steps is not None
    return by_steps(spec, view.plan, step, max_steps)


def _as_setting(epochs: float | None, max_steps: int | None) -> str:
    return f"epochs={epochs:g}" if epochs is not None else f"max_steps={max_steps}"


def _told(name: str, found: Extension) -> list[str]:
    """The new length, the learning rate's old and new course, and what that means."""
    lines = [f"{name}: {found.before:,} steps become {found.steps:,} ({found.epochs:g} epochs)"]
    for label, course in (("as it is", found.now), ("then", found.then)):
        drawn = course.glyphs(CURVE_COLUMNS, found.steps, found.then.peak)
        now, end = course.at(min(found.step, course.steps)), course.at(course.steps)
        lines.append(
            f"  rate {label:<8}  {drawn}  {rate(now)} now, {rate(end)} at {course.steps:,}"
        )
    return [*lines, f"  {found.meaning}"]


def _confirm(run: _Run, yes: bool) -> None:
    """Ask on a terminal; raises UserError where nobody can be asked, and when the answer is no."""
    name, loses = run.paths.name, lost_words(run.view)
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            f"ending {name} without saving needs --yes. {loses}",
            then=f"With saving: tui-lora stop {name}",
        )
    to_stdout(f"{name}: {loses}")
    sys.stdout.write("End it at once, and save nothing? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(f"{name} goes on.", exit_code=130)


def _ended(run: _Run, kind: type[Order], said: str, kill_after: float | None) -> int:
    """Ask for the run's end, unless somebody has; wait until it is gone; say what came of it."""
    paths, name = run.paths, run.paths.name
    signals = sent_since(paths, run.view.attempt_started_t)
    ladder = begun(waiting(paths, run.view), signals)
    if ladder is not None and isinstance(ladder.order, (kind, Discard)):
        told = f"{name}: {ordered(ladder.order)} was asked {ago(ladder.order.t, time.time())}."
        if ladder.rung is not Rung.ORDERED:
            sent = ago(ladder.since, time.time())
            told += f" {SIGNALS[ladder.rung].name} was sent {sent}."
    else:
        order = sessions.give(paths, kind)
        ladder = Ladder(order, order.t)
        told = said
    if not _stands(paths, ladder.order, told, lambda: _until_gone(run, ladder, kill_after)):
        return 0
    run.look()
    status = run.status()
    # Of a worker that died on the way the result is an earlier attempt's.
    result = None if status is Status.INTERRUPTED else sessions.read_result(paths)
    message = f": {clean(result.message)}" if result and result.message else ""
    to_stdout(f"{name}: {status}{message}")
    if status is Status.PAUSED:
        to_stdout(f"{freed_words(run.view)} Go on: tui-lora resume {name}")
    elif status is Status.INTERRUPTED:
        to_stdout(f"{lost_words(run.view)} Resume it: tui-lora resume {name}")
    return EXIT_CODES.get(status, 0)


def _until_gone(run: _Run, ladder: Ladder, kill_after: float | None) -> None:
    """Wait for the worker's end, going up the ladder where that is wanted, each rung in words."""
    name = run.paths.name
    began = climbed = time.monotonic()
    told = False
    if kill_after is not None and ladder.next is not None:
        signal = SIGNALS[ladder.next].name
        to_stdout(f"{name}: not gone by then, {signal} follows in {duration(kill_after)}.")
    while run.look():
        now, here = time.time(), time.monotonic()
        if kill_after is not None and here - climbed >= kill_after and ladder.next is not None:
            try:
                ladder = climb(run.paths, ladder, now)
            except UserError:
                if lock.holder(run.paths.lock) is None:
                    return
                raise
            climbed = here
            waits = f" {lost_words(run.view)}" if ladder.rung is Rung.KILLED else ""
            signal = SIGNALS[ladder.rung].name
            to_stdout(f"{name}: not gone after {duration(kill_after)}: {signal} sent.{waits}")
            if ladder.next is not None:
                to_stdout(f"{name}: SIGKILL follows in {duration(kill_after)}.")
        elif kill_after is None and not told and now > ladder.until(run.view):
            told = True
            to_stdout(
                f"{name}: nothing yet ({clean(patience(run.view).why)}); the order stands. To end "
                f"it harder, step by step: {_harder(ladder.order, name)}"
            )
        stuck = ladder.rung is Rung.KILLED and here - climbed > STUCK_S
        if stuck or (kill_after is None and here - began > PATIENT_S):
            raise _still_there(run.paths, ladder.order, stuck=stuck)
        time.sleep(POLL_S)


def _harder(order: Order, name: str) -> str:
    """The command that climbs on from this order: another verb would be another order."""
    verb = "pause" if isinstance(order, Pause) else "stop"
    more = " --discard --yes" if isinstance(order, Discard) else ""
    return f"tui-lora {verb} {name}{more} --kill-after 60"


def _still_there(paths: SessionPaths, order: Order, *, stuck: bool) -> UserError:
    if stuck:
        return UserError(
            f"{paths.name} was killed, and is still there: a call of a driver or a disk hangs.",
            where=str(paths.log),
            then="The kernel ends it when that call returns; else the machine has to start anew.",
            exit_code=1,
        )
    return UserError(
        f"{paths.name} has not ended after ten minutes.",
        where=str(paths.log),
        then="It may still be loading or in a long step; the order stands. To end it harder: "
        f"{_harder(order, paths.name)}",
        exit_code=1,
    )


def _answered(run: _Run, kind: type[Order], said: str, **fields: Any) -> int:
    """Give an order and wait for the worker's answer to it."""
    order = sessions.give(run.paths, kind, **fields)
    code = 0

    def wait() -> None:
        nonlocal code
        told = False
        while True:
            alive = run.look()
            if (answer := run.view.answers.get(order.id)) is not None:
                to_stdout(f"{run.paths.name}: {clean(answer.message)}")
                code = 0 if answer.ok else 1
                return
            if not alive:
                raise UserError(
                    f"{run.paths.name} ended before it answered ({ordered(order)}).", exit_code=1
                )
            waits = patience(run.view)
            if not told and time.time() > order.t + waits.seconds:
                told = True
                to_stdout(f"{run.paths.name}: no answer yet ({clean(waits.why)}).")
            time.sleep(POLL_S)

    _stands(run.paths, order, said, wait)
    return code


def _stands(paths: SessionPaths, order: Order, said: str, wait: Callable[[], None]) -> bool:
    """Say what was asked, and wait; False where Ctrl-C ended that, which leaves the order
    standing."""
    try:
        to_stdout(said)
        wait()
    except KeyboardInterrupt:
        to_stdout(
            f"\nno longer waiting; the order stands ({ordered(order)}), and {paths.name} does it "
            f"by itself. Watch it: tui-lora watch {paths.name}"
        )
        return False
    return True
