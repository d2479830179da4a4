"""Orders are for the worker that lived when they were given; and none stays without an answer."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests import workers
from tests.faults.blows import DieAtName
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.errors import UserError
from tui_lora.core.events import EVENTS, AttemptStarted, OrderAnswered
from tui_lora.core.guards_spec import HooksSpec
from tui_lora.core.orders import (
    ORDERS,
    ChangeSpec,
    GoOn,
    Hold,
    Order,
    Pause,
    Peek,
    SaveCheckpoint,
    Stop,
)  # fmt: skip
from tui_lora.core.queue import Queued
from tui_lora.core.status import Status
from tui_lora.store import hooks, launch, lock, sessions
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.orders import waiting
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import say
from tui_lora.store.spec_file import read_spec
from tui_lora.store.sudden_end import why_it_ended

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    for command in ("cat gate", "echo heard > heard.txt"):
        hooks.confirm(command)


@pytest.fixture
def paths(tmp_path: Path, tiny_model: Path, rows: Path) -> SessionPaths:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=4, dataset__eval_share=0,
        evaluation__save_every_steps=2,
    )  # fmt: skip
    return sessions.create(tmp_path, "run", spec)


@pytest.mark.parametrize("kind", [Stop, Hold])
def test_what_was_ordered_while_no_worker_lived_is_not_done(
    paths: SessionPaths, kind: type[Order]
) -> None:
    append_line(paths.orders, ORDERS.encode(kind(id="old", t=1.0)))
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    view = view_of(paths)
    assert (sessions.status_of(paths), view.step, view.answers) == (Status.DONE, 4, {})
    assert waiting(paths, view) == ()


def test_an_order_to_a_worker_that_died_is_not_done_by_the_next(paths: SessionPaths) -> None:
    """It heard the stop and saved; it was killed before its last word."""
    first = workers.start(paths, first=DieAtName("result.json"))
    order = sessions.order_stop(paths)
    assert workers.finish(first) == -9
    reached = view_of(paths)
    assert reached.answers[order.id].ok
    assert sessions.status_of(paths) is Status.INTERRUPTED
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    view = view_of(paths)
    assert (sessions.status_of(paths), view.step) == (Status.DONE, 4)
    assert waiting(paths, view) == ()


def test_what_waits_as_a_run_loads_anew_is_answered(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new worker begins behind them."""
    from tui_lora.worker.anew import Anew
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.outcome import Outcome
    from tui_lora.worker.reporter import Reporter
    from tui_lora.worker.retry import Retry

    inbox, reporter = Inbox(paths.orders), Reporter(paths.events)
    orders: list[Order] = [kind(id=kind.type, t=1.0) for kind in (SaveCheckpoint, Hold, GoOn)]
    orders.append(ChangeSpec(id="change", t=1.0, changes={"training.epochs": 2}))
    orders.append(Peek(id="peek", t=1.0, prompt="Well?"))
    for order in orders:
        append_line(paths.orders, ORDERS.encode(order))
    monkeypatch.setattr(launch, "train_on", lambda *_, **__: None)
    anew = Anew(paths, 0, (), {}, reporter, inbox, Outcome(1, 0))
    anew.begin(Retry(1, {"training.micro_batch": 1}, ""))
    told = [EVENTS.decode(line).message for line in Tail(paths.events).read()]
    answered = {one.id: one.ok for one in told if isinstance(one, OrderAnswered)}
    assert answered == {order.id: False for order in orders}


@pytest.mark.parametrize("asked", ["an order", "a signal"])
def test_an_end_that_is_asked_for_as_a_run_loads_anew_is_not_lost(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """The new worker would begin behind the order, and without the signal."""
    from tui_lora.worker.anew import Anew
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.outcome import Outcome
    from tui_lora.worker.reporter import Reporter
    from tui_lora.worker.retry import Retry

    became: list[object] = []
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    inbox, reporter = Inbox(paths.orders), Reporter(paths.events)
    held = lock.hold(paths.lock)
    append_line(paths.orders, ORDERS.encode(Hold(id="hold", t=1.0)))
    if asked == "an order":
        # It comes while the hold before it is answered.
        append_line(paths.orders, ORDERS.encode(Pause(id="pause", t=1.0)))
    else:
        # Another thread may take the signal though this one holds it back.
        monkeypatch.setattr(lock, "keep_beyond", lambda _: inbox._terminated(15, None))
    outcome = Outcome(1, 0)
    anew = Anew(paths, held, (), {}, reporter, inbox, outcome)
    anew.begin(Retry(0, {"training.max_steps": 60}, ""))
    assert became == []
    assert inbox.stopping
    outcome.ended_first(inbox, 7)
    told = "paused as you asked" if asked == "an order" else "stopped the system asked for it"
    assert f"{outcome.verdict} {outcome.message}".startswith(told)
    assert outcome.message.endswith("before it loaded anew; it goes on from step 7")


@pytest.mark.parametrize("who", ["a viewer", "the system"])
def test_a_signal_makes_no_stop_of_a_pause(paths: SessionPaths, who: str) -> None:
    """The adapter is not written and the queue waits: the card is wanted."""
    from tui_lora.worker.inbox import Inbox

    inbox = Inbox(paths.orders, signalled=lambda: who == "a viewer")
    append_line(paths.orders, ORDERS.encode(Pause(id="pause", t=1.0)))
    inbox.read()
    inbox._terminated(signal.SIGTERM, None)
    assert (inbox.ending, inbox.stop_reason) == ("pause", "as you asked")
    assert inbox.terminated == (who == "the system")
    # But who orders a stop after it means that.
    append_line(paths.orders, ORDERS.encode(Stop(id="stop", t=2.0)))
    inbox.read()
    assert inbox.ending == "stop"


def test_a_worker_that_cannot_begin_leaves_a_word(paths: SessionPaths) -> None:
    """And lets the queue go on."""
    paths.worker.mkdir()
    assert workers.train(paths) == 1
    result = sessions.read_result(paths)
    assert result is not None
    assert "worker.json could not be written" in result.message
    assert (sessions.status_of(paths), view_of(paths).attempt) == (Status.FAILED, 1)


def test_who_starts_a_worker_that_cannot_begin_is_told(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.events.mkdir()
    with pytest.raises(UserError, match=r"ended at once \(exit code 1\).*Is a directory"):
        launch.start_training(paths, devices="cpu")


def test_while_the_user_s_command_runs_the_worker_says_so_and_answers(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2, dataset__eval_share=0,
        hooks__on_finish="cat gate",
    )  # fmt: skip
    paths = sessions.create(tmp_path, "run", spec)
    os.mkfifo(paths.folder / "gate")
    with workers.running(paths) as worker:
        view = wait_for(paths, lambda view: view.verdict is not None and view.phase is not None)
        assert view.phase is not None
        assert view.phase.label == "running your command (hooks.on_finish)"
        assert sessions.status_of(paths) is Status.RUNNING
        order = sessions.order_stop(paths)
        (paths.folder / "gate").write_text("on with it\n")
        assert workers.finish(worker) == 0
    view = view_of(paths)
    assert (sessions.status_of(paths), view.phase) == (Status.DONE, None)
    assert view.answers[order.id].message == "done at step 2"


@pytest.mark.parametrize("who", ["a viewer", "the system"])
def test_whose_sigterm_it_was(tmp_path: Path, tiny_model: Path, rows: Path, who: str) -> None:
    spec = tiny_spec(tiny_model, rows, training__max_steps=2000, dataset__eval_share=0)
    paths = sessions.create(tmp_path, "run", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        if who == "a viewer":
            launch.signal_worker(paths, signal.SIGTERM)
        else:
            os.kill(worker.pid or 0, signal.SIGTERM)
        assert workers.finish(worker) == 0
    assert f"{who} asked for it (SIGTERM)" in view_of(paths).verdict_message
    if who == "a viewer":
        with workers.running(paths) as worker:
            wait_for(paths, lambda view: view.attempt == 2)
            launch.signal_worker(paths, signal.SIGKILL)
            assert workers.finish(worker) == -9
        assert "killed from a viewer (SIGKILL at " in why_it_ended(paths)


@pytest.mark.parametrize(("ending", "goes_on"), [("pause", False), ("stop", True)])
def test_a_last_word_that_cannot_be_written_holds_nobody_up(
    paths: SessionPaths, monkeypatch: pytest.MonkeyPatch, ending: Any, goes_on: bool
) -> None:
    """But the card of a run that was to be paused is wanted, though its checkpoint failed."""
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.leaving import leave
    from tui_lora.worker.outcome import Outcome
    from tui_lora.worker.reporter import Reporter

    started: list[str] = []
    monkeypatch.setattr(launch, "start_when_gone", lambda _, card, *__: started.append(card))
    say(paths.folder.parent, Queued, "next", card="0")
    paths.result.mkdir()
    spec = read_spec(paths.spec)
    spec = spec.model_copy(update={"hooks": HooksSpec(on_finish="echo heard > heard.txt")})
    inbox, outcome, reporter = Inbox(paths.orders), Outcome(1, 0), Reporter(paths.events)
    reporter.begin(AttemptStarted(attempt=1, pid=os.getpid(), resumed_from=None, versions={}))
    inbox.end(ending, "as you asked")
    outcome.unsaved(paths, inbox.stop_reason, "no room")
    assert leave(paths, spec, outcome, inbox, reporter, {}, 1.0) == 1
    assert view_of(paths).verdict == "failed"
    assert (paths.folder / "heard.txt").is_file()
    assert started == (["0"] if goes_on else [])
