"""The screens under a real terminal: lost, killed, given hostile text; the run does not mind."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests import workers
from tests.pty_terminal import Terminal
from tests.recorded import done_session
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.events import EVENTS, Notice
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.journal import append_line
from tui_lora.store.paths import SessionPaths


def screens(paths: SessionPaths, home: Path, columns: int = 80, rows: int = 24) -> Terminal:
    environment = {
        "TUI_LORA_SESSIONS": str(paths.folder.parent),
        "TUI_LORA_CONFIG": str(home / "config"),
    }
    return Terminal(columns=columns, rows=rows, environment=environment)


@pytest.mark.model
def test_a_lost_and_a_killed_screen_leave_the_run_alone(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=100_000, evaluation__every_steps=100_000,
        evaluation__save_every_steps=100_000,
    )  # fmt: skip
    paths = sessions.create(tmp_path / "sessions", "long", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 5)
        with screens(paths, tmp_path) as terminal:
            terminal.wait_for("long")
            terminal.send("\r")
            terminal.wait_for(r"training +step")
            terminal.hang_up()
            assert terminal.wait() != 0
        lost_at = view_of(paths).step
        wait_for(paths, lambda view: view.step > lost_at + 5)

        with screens(paths, tmp_path, 120, 40) as terminal:
            terminal.wait_for("long")
            terminal.send("\r")
            terminal.wait_for(r"training +step")
            terminal.kill(signal.SIGKILL)
            assert terminal.wait() == -signal.SIGKILL
        killed_at = view_of(paths).step
        wait_for(paths, lambda view: view.step > killed_at + 5)

        # Back again: the run is alive, with its curve from the first step on; then stop it there.
        with screens(paths, tmp_path, 120, 40) as terminal:
            terminal.wait_for("long +● running")
            terminal.send("\r")
            terminal.wait_for(r"training +step")
            terminal.send("s")
            time.sleep(0.5)
            terminal.send("s")
            terminal.wait_for("stopped", 60)
            terminal.send("q")
            assert terminal.wait() == 0
        assert workers.finish(worker) == 0
    assert sessions.status_of(paths) is Status.STOPPED
    view = view_of(paths)
    steps = [bucket.first for bucket in view.loss.buckets]
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    assert view.attempt == 1


def test_hostile_text_reaches_no_terminal(tmp_path: Path) -> None:
    paths = done_session(tmp_path / "sessions")
    evil = "\x1b]0;owned\x07 \x1b[2J \x9b31m [/INST] [@click=app.quit]x[/] [bold \x1b]52;c;aGk=\x07"
    for number in range(3):
        notice = Notice(seq=900 + number, t=1.0, mono=1.0, level="warning", text=evil)
        append_line(paths.events, EVENTS.encode(notice))
    with screens(paths, tmp_path, 120, 40) as terminal:
        terminal.wait_for(re.escape(paths.name))
        terminal.send("\r")
        terminal.wait_for(re.escape("[/INST] [@click=app.quit]x[/] [bold"))
        for key in "1234567":
            terminal.send(key)
            time.sleep(0.4)
        terminal.send("1q")
        assert terminal.wait() == 0
    output = terminal.output()
    assert b"owned\x07" not in output
    assert b"\x1b]52" not in output
    assert "\x9b".encode() not in output
    assert b"\x1b]0;owned" not in output
