"""Several processes at one session: two starts, two viewers giving orders, orders that are none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from pathlib import Path

import psutil
import pytest

from tests import workers
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.events import AttemptStarted, OrderAnswered
from tui_lora.core.orders import ORDERS, SaveCheckpoint
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model

EACH = 20


@pytest.fixture
def session(tmp_path: Path, tiny_model: Path, rows: Path) -> SessionPaths:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=100_000, dataset__eval_share=0,
        evaluation__save_every_steps=100_000,
    )  # fmt: skip
    return sessions.create(tmp_path, "run", spec)


def ask(paths: SessionPaths, times: int) -> None:
    for _ in range(times):
        sessions.order_checkpoint(paths)


def test_of_starts_at_the_same_moment_one_is_the_worker(session: SessionPaths) -> None:
    started = [workers.launch(session) for _ in range(4)]
    wait_for(session, lambda view: view.step >= 1)
    refused = [worker for worker in started if not worker.is_alive()]
    assert [workers.finish(worker) for worker in refused] == [2, 2, 2]
    assert len(list(sessions.events_of(session, AttemptStarted))) == 1
    assert session.log.read_text().count("run is already running (process") == 3
    (worker,) = (worker for worker in started if worker.is_alive())
    # Rows are fed by the worker itself: there is no data-loader process that could die.
    assert psutil.Process(worker.pid).children() == []
    sessions.order_stop(session)
    assert workers.finish(worker) == 0
    assert sessions.status_of(session) is Status.STOPPED


def test_every_order_of_two_viewers_is_answered_and_rubbish_is_none(session: SessionPaths) -> None:
    with workers.running(session) as worker:
        wait_for(session, lambda view: view.step >= 1)
        # Signals of a terminal that closes, or in which somebody presses Ctrl-C twice.
        assert worker.pid is not None
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGINT):
            os.kill(worker.pid, number)
        fork = multiprocessing.get_context("fork")
        viewers = [fork.Process(target=ask, args=(session, EACH)) for _ in range(2)]
        for viewer in viewers:
            viewer.start()
        for viewer in viewers:
            viewer.join(60)
        replayed = Tail(session.orders).read()[0].decode()
        rubbish = [
            "not json", "[]", "{}", '{"v":1,"type":"format_disk","id":"a","t":0}', "\x00\x1b[2J",
            '{"v":1,"type":"stop"}', '{"v":1,"type":"stop","id":7,"t":"x"}', "[" * 20_000,
            '{"v":1,"type":"stop","id":"' + "a" * (1 << 20) + '","t":0}', replayed, replayed,
        ]  # fmt: skip
        for line in rubbish:
            append_line(session.orders, line + "\n")
        last = SaveCheckpoint(id=str(uuid.uuid4()), t=0.0)
        append_line(session.orders, ORDERS.encode(last))
        wait_for(session, lambda view: last.id in view.answers)
        assert worker.is_alive()
        sessions.order_stop(session)
        sessions.order_stop(session)
        assert workers.finish(worker) == 0
    assert sessions.status_of(session) is Status.STOPPED
    asked = [ORDERS.decode(line).message for line in Tail(session.orders).read(1 << 24)]
    wanted = {order.id for order in asked if order is not None}
    assert len(wanted) == 2 * EACH + 3
    answers = list(sessions.events_of(session, OrderAnswered))
    # Each once, however often it came.
    assert sorted(answer.id for answer in answers) == sorted(wanted)
    assert all(answer.ok for answer in answers)
    assert view_of(session).unreadable == 0
