"""A viewer that stood still (a laptop that slept, Ctrl-Z) catches up at once, without replaying
every picture that it missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pty_terminal import Terminal
from tests.recorded import make_session, opening, steps, write
from tui_lora.store import lock
from tui_lora.store.paths import SessionPaths

FIRST, LAST, TOTAL = 40, 20_000, 50_000
HOLD = (
    "import sys, time; from pathlib import Path; from tui_lora.store import lock;"
    "lock.hold(Path(sys.argv[1])); time.sleep(600)"
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[SessionPaths]:
    """A session whose lock somebody holds, and whose log grows as the test writes it."""
    paths = make_session(tmp_path / "sessions")
    worker = subprocess.Popen([sys.executable, "-c", HOLD, str(paths.lock)])
    try:
        write(paths, opening(TOTAL), steps(1, FIRST, TOTAL), start=time.time())
        deadline = time.monotonic() + 60
        while lock.holder(paths.lock) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield paths
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("viewer", ["screens", "watch"])
def test_it_catches_up(running: SessionPaths, tmp_path: Path, viewer: str) -> None:
    root = str(running.folder.parent)
    arguments = ["--sessions", root, *(["watch", "run"] if viewer == "watch" else [])]
    environment = {"TUI_LORA_CONFIG": str(tmp_path / "config")}
    with Terminal(arguments, columns=120, rows=40, environment=environment) as terminal:
        if viewer == "screens":
            terminal.wait_for("run +●")
            terminal.send("\r")
        terminal.wait_for(r"step +\d+ of", 60)
        terminal.kill(signal.SIGSTOP)
        write(running, steps(FIRST + 1, LAST, TOTAL), first=FIRST + 100, start=time.time() - 600)
        at = time.monotonic()
        terminal.kill(signal.SIGCONT)
        # What it wrote last; the line of a step comes every two seconds at most.
        last = rf"step +{LAST:,} of" if viewer == "screens" else rf"checkpoints/step-{LAST:06d}"
        terminal.wait_for(last, 60)
        sent = terminal.bytes_between(at, time.monotonic())
        assert sent < 300 * 1024, sent
        if viewer == "screens":
            terminal.send("q")
        else:
            os.kill(terminal.pid, signal.SIGINT)
        assert terminal.wait() == 0
    assert lock.holder(running.lock) is not None
