"""The connection drops: whatever happens to a viewer, the worker goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pty_terminal import Terminal
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.status import Status
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


@pytest.fixture
def running(tmp_path: Path, tiny_model: Path, rows: Path) -> SessionPaths:
    """A session that is started by each test in its own way."""
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=100_000, evaluation__every_steps=100_000,
        evaluation__save_every_steps=100_000,
    )  # fmt: skip
    return sessions.create(tmp_path / "sessions", "long", spec)


def stop(paths: SessionPaths) -> None:
    sessions.order_stop(paths)
    deadline = time.monotonic() + 60
    while lock.holder(paths.lock) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def command(paths: SessionPaths, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui_lora.cli", "--sessions", str(paths.folder.parent), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_closed_terminal_and_a_killed_viewer_leave_the_run_alone(running: SessionPaths) -> None:
    root = ["--sessions", str(running.folder.parent)]
    with Terminal([*root, "train", "long"], columns=80, rows=24) as terminal:
        terminal.wait_for(r"step +\d+ of", 90)
        terminal.hang_up()
        terminal.wait()
    at_hang_up = view_of(running).step
    try:
        wait_for(running, lambda view: view.step > at_hang_up + 5)

        with Terminal([*root, "watch", "long"], columns=80, rows=24) as terminal:
            terminal.wait_for(r"step +\d+ of", 30)
            terminal.kill(signal.SIGKILL)
            terminal.wait()
        at_kill = view_of(running).step
        wait_for(running, lambda view: view.step > at_kill + 5)

        # Ctrl-C detaches.
        with Terminal([*root, "watch", "long"], columns=80, rows=24) as terminal:
            terminal.wait_for(r"step +\d+ of", 30)
            terminal.send("\x03")
            assert terminal.wait() == 0
            terminal.wait_for("the run goes on")
        assert sessions.status_of(running) is Status.RUNNING

        listed = json.loads(command(running, "ls", "--json").stdout)
        assert [(row["name"], row["status"]) for row in listed] == [("long", "running")]
        second = command(running, "train", "long", "--detach")
        assert "already running" in second.stdout
        asked = command(running, "checkpoint", "long")
        assert asked.returncode == 0, asked.stderr
        assert "checkpoint saved at step" in asked.stdout
        stopped = command(running, "stop", "long")
        assert stopped.returncode == 0, stopped.stderr
        assert "stopped" in stopped.stdout
    finally:
        if lock.holder(running.lock) is not None:
            stop(running)
    view = view_of(running)
    steps = [bucket.first for bucket in view.loss.buckets]
    assert steps == sorted(set(steps))
    assert view.attempt == 1
    assert sessions.status_of(running) is Status.STOPPED
    again = command(running, "watch", "long")
    assert again.returncode == 0
    assert "stopped" in again.stdout


def test_the_worker_belongs_to_no_terminal(running: SessionPaths) -> None:
    started = command(running, "train", "long", "--detach")
    assert started.returncode == 0, started.stderr
    try:
        pid = lock.holder(running.lock)
        assert pid
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        for descriptor in (1, 2):
            assert Path(f"/proc/{pid}/fd/{descriptor}").readlink() == running.log
        assert sessions.status_of(running) is Status.RUNNING
    finally:
        stop(running)
