"""The verbs that steer a run, as a shell calls them, on a worker that answers and on a deaf one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.models import write_model
from tests.obedient import worker
from tests.pty_terminal import Terminal
from tests.recorded import done_session, finish, make_session, opening, steps, write
from tests.shell import called
from tui_lora.core.errors import UserError
from tui_lora.core.orders import ORDERS, ChangeSpec, Order, Pause, Stop
from tui_lora.headless import control, verbs
from tui_lora.store import launch
from tui_lora.store.checkpoints import seal
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.screens


@pytest.fixture
def run(tmp_path: Path) -> SessionPaths:
    """At step 250 of 400, with its last checkpoint at 200."""
    paths = make_session(tmp_path, "run")
    write(paths, opening(400), steps(1, 250, 400), start=time.time() - 300)
    return paths


def tui_lora(paths: SessionPaths, *arguments: str) -> subprocess.CompletedProcess[str]:
    return called("--sessions", str(paths.folder.parent), *arguments)


def given(paths: SessionPaths) -> list[Order]:
    lines = paths.orders.read_bytes().splitlines() if paths.orders.exists() else []
    return [order for line in lines if (order := ORDERS.decode(line).message) is not None]


@pytest.mark.parametrize(
    ("verb", "type", "words"),
    [
        (["stop"], "stop", "run: stopped: at step 250 of 400, as you asked"),
        (["pause"], "pause", "run: paused: at step 250 of 400"),
        (["stop", "--discard", "--yes"], "discard", "nothing was saved"),
        (["hold"], "hold", "everything stays loaded. Go on: tui-lora go-on run"),
        (["checkpoint"], "checkpoint", "run: checkpoint: done at step 250"),
        (["extend", "--epochs", "6"], "change_spec", "run: change_spec: done at step 250"),
    ],
)
def test_an_order_is_given_and_its_answer_told(
    run: SessionPaths, verb: list[str], type: str, words: str
) -> None:
    with worker(run):
        done = tui_lora(run, verb[0], "run", *verb[1:])
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert [order.type for order in given(run)] == [type]


def test_a_pause_says_what_is_free_and_how_to_go_on(
    run: SessionPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    with worker(run):
        assert control.pause(run.folder.parent, "run") == 0
    said = capsys.readouterr().out
    assert "asked to pause; it finishes its step, saves a checkpoint and ends" in said
    assert "GiB of memory are free again. Go on: tui-lora resume run" in said


def test_a_held_run_goes_on_and_says_so_when_asked_twice(
    run: SessionPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run.folder.parent
    with worker(run):
        assert control.hold(root, "run") == 0
        assert control.hold(root, "run") == 0
        assert "is holding already" in capsys.readouterr().out
        verbs.ls(root, as_json=False)
        assert capsys.readouterr().out.count("holding") == 1
        assert "go_on: done" in tui_lora(run, "go-on", "run").stdout
    assert [order.type for order in given(run)] == ["hold", "go_on"]


@pytest.mark.parametrize("verb", ["stop", "pause", "hold", "go_on", "checkpoint"])
def test_nobody_is_asked_where_nobody_lives(run: SessionPaths, verb: str) -> None:
    with pytest.raises(UserError) as caught:
        getattr(control, verb)(run.folder.parent, "run")
    assert str(caught.value).startswith("run is not running (interrupted)")
    assert "tui-lora resume run" in caught.value.then
    assert not run.orders.exists()


def test_stopping_without_saving_needs_a_yes(run: SessionPaths) -> None:
    with worker(run):
        done = tui_lora(run, "stop", "run", "--discard")
        assert done.returncode == 2
        assert "needs --yes" in done.stderr
        assert "50 steps, about" in done.stderr
        assert "since the checkpoint of step 200 are lost" in done.stderr
        assert not run.orders.exists()


@pytest.mark.parametrize(("answer", "code", "orders"), [("n", 130, []), ("y", 0, ["discard"])])
def test_on_a_terminal_it_asks(
    run: SessionPaths, answer: str, code: int, orders: list[str]
) -> None:
    arguments = ["--sessions", str(run.folder.parent), "stop", "run", "--discard"]
    with worker(run), Terminal(arguments) as terminal:
        terminal.wait_for("y/N")
        terminal.send(f"{answer}\n")
        assert terminal.wait() == code
    assert [order.type for order in given(run)] == orders


@pytest.mark.parametrize(("verb", "order"), [("stop", Stop), ("pause", Pause)])
def test_a_deaf_worker_is_ended_rung_by_rung(
    run: SessionPaths, verb: str, order: type[Order]
) -> None:
    """From the order that was given: who climbs on from a pause asks for no stop."""
    with worker(run, deaf=True) as process:
        done = tui_lora(run, verb, "run", "--kill-after", "0.3")
        assert process.wait(60) == -signal.SIGKILL
    given = [ORDERS.decode(line).message for line in run.orders.read_bytes().splitlines()]
    assert [type(one) for one in given] == [order]
    said = done.stdout
    assert done.returncode == 1
    steps = [f"asked to {verb}", "SIGTERM follows in 0.3 s", "SIGTERM sent", "SIGKILL sent"]
    assert sorted(steps, key=said.index) == steps
    assert "SIGKILL follows in 0.3 s" in said
    assert "run: interrupted" in said
    assert "50 steps, about" in said
    assert "Resume it: tui-lora resume run" in said


def test_ctrl_c_leaves_the_order_standing_and_a_second_stop_says_so(run: SessionPaths) -> None:
    command = [sys.executable, "-m", "tui_lora.cli", "--sessions", str(run.folder.parent)]
    with worker(run, deaf=True):
        for said in (b"asked to stop", b"stop was asked"):
            with subprocess.Popen([*command, "stop", "run"], stdout=subprocess.PIPE) as waiting:
                assert waiting.stdout is not None
                assert said in waiting.stdout.readline()
                waiting.send_signal(signal.SIGINT)
                rest = waiting.stdout.read()
                assert b"the order stands (stop)" in rest
                assert waiting.wait(60) == 0
        assert len(given(run)) == 1


def test_extend_shows_the_rate_before_it_asks(run: SessionPaths) -> None:
    with worker(run):
        done = tui_lora(run, "extend", "run", "--max-steps", "1000")
    assert "run: 400 steps become 1,000 (7.5 epochs)" in done.stdout
    assert "now, 0 at 1,000" in done.stdout
    assert "goes up again from 6.51e-5 to 1.76e-4, since cosine is stretched" in done.stdout
    (order,) = given(run)
    assert isinstance(order, ChangeSpec)
    assert order.changes == {"training.max_steps": 1000}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((None, None), "give one of --epochs and --max-steps"),
        ((5.0, 9), "give one of --epochs and --max-steps"),
        ((2.0, None), "is no longer than the run is: it has 400 steps, 3 epochs"),
    ],
)
def test_what_is_no_extension_is_refused(
    run: SessionPaths, arguments: tuple[float | None, int | None], why: str
) -> None:
    epochs, max_steps = arguments
    with pytest.raises(UserError, match=why):
        control.extend(run.folder.parent, "run", epochs=epochs, max_steps=max_steps)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def start(paths: SessionPaths, *, changes: Mapping[str, Any] | None = None, **_: Any) -> int:
        found.append(dict(changes or {}))
        return 1

    monkeypatch.setattr(launch, "start_training", start)
    return found


def a_checkpoint(paths: SessionPaths, step: int) -> None:
    beside = paths.checkpoints / ".new"
    beside.mkdir()
    (beside / "weights").write_bytes(b"x")
    seal(beside, paths.checkpoints / f"step-{step:06d}", step=step, tokens_seen=1)


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    monkeypatch.chdir(tmp_path)
    paths = done_session(tmp_path)
    model = write_model(tmp_path / "model")
    paths.spec.write_text(paths.spec.read_text().replace("id: tiny", f"id: {model}"))
    return paths


def test_a_finished_run_is_made_longer(done: SessionPaths, started: list[dict[str, Any]]) -> None:
    a_checkpoint(done, 400)
    root = done.folder.parent
    with pytest.raises(UserError, match="is finished, so there is nothing to resume") as caught:
        verbs.resume(root, "done", changes=[], detach=True)
    assert "tui-lora extend done" in caught.value.then
    with pytest.raises(UserError, match="nothing to resume"):
        verbs.resume(root, "done", changes=["training.epochs=2"], detach=True)
    assert control.extend(root, "done", epochs=4, max_steps=None, detach=True) == 0
    assert started == [{"training.epochs": 4}]
    assert verbs.resume(root, "done", changes=["training.max_steps=500"], detach=True) == 0
    assert started[1:] == [{"training.max_steps": 500}]


def test_a_finished_run_without_checkpoints_cannot_be_longer(
    done: SessionPaths, started: list[dict[str, Any]]
) -> None:
    with pytest.raises(UserError, match="Its checkpoints are gone"):
        control.extend(done.folder.parent, "done", epochs=4, max_steps=None, detach=True)
    assert not started


def test_a_paused_run_goes_on_with_resume(
    run: SessionPaths, done: SessionPaths, started: list[dict[str, Any]]
) -> None:
    run.spec.write_text(done.spec.read_text())
    finish(run, 250, "paused")
    with pytest.raises(UserError, match="is paused, not held"):
        control.go_on(run.folder.parent, "run")
    assert verbs.resume(run.folder.parent, "run", changes=[], detach=True) == 0
    assert started == [{}]


def test_what_has_not_begun_cannot_be_extended(tmp_path: Path) -> None:
    make_session(tmp_path, "new")
    with pytest.raises(UserError, match="was never reckoned") as caught:
        control.extend(tmp_path, "new", epochs=5, max_steps=None)
    assert "--set training.epochs=5" in caught.value.then
