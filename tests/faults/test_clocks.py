"""The clock is set back or on while a run goes on, the machine restarts, a pid is used again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.recorded import make_session, numbered, opening, step_done, write
from tui_lora.core.events import EVENTS, Heartbeat
from tui_lora.core.status import Status
from tui_lora.core.view import RunView
from tui_lora.store import lock, sessions
from tui_lora.store.journal import append_line
from tui_lora.store.sudden_end import boot_id, why_it_ended


@pytest.mark.parametrize("jump_s", [-3600.0, +3600.0])
def test_a_clock_that_jumps_changes_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """`t` jumps, `mono` does not: what is left and what the first step took are the same."""
    now = time.time()
    views = []
    for jump in (0.0, jump_s):
        paths = make_session(tmp_path, f"jump{int(jump)}")
        count = write(paths, opening(400), start=now)
        later = [Heartbeat(next_s=15), *(step_done(step, 400) for step in range(1, 101))]
        for event in numbered(iter(later), count + 1, now + jump):
            append_line(paths.events, EVENTS.encode(event))
        view = sessions.fold(paths.events.read_bytes().splitlines(), RunView())
        views.append(view)
        monkeypatch.setattr(lock, "holder", lambda path: 4242)
        # The viewer's clock is the same one.
        monkeypatch.setattr(time, "time", lambda at=view.last_t: (at or 0) + 1)
        summary = sessions.summarize(paths)
        assert summary.status is Status.RUNNING
        assert summary.eta_s == 300 * 0.5
        assert summary.step == 100
        monkeypatch.undo()
    plain, jumped = views
    assert jumped.eta_s == plain.eta_s
    assert jumped.first_step_after_s == plain.first_step_after_s
    assert jumped.tokens_per_s.latest == plain.tokens_per_s.latest
    assert [line.text for line in jumped.log] == [line.text for line in plain.log]
    assert jumped.loss.tail(24) == plain.loss.tail(24)


def test_another_boot_and_a_pid_that_is_used_again(tmp_path: Path) -> None:
    """Nobody holds the lock, so nobody is alive, whoever has that pid now."""
    paths = make_session(tmp_path)
    write(paths, opening(400))
    me = {"pid": os.getpid(), "started": 1.0, "boot_id": "another"}
    paths.worker.write_text(json.dumps(me))
    paths.lock.touch()
    assert sessions.status_of(paths) is Status.INTERRUPTED
    assert why_it_ended(paths).startswith("This machine was started anew since then")
    paths.worker.write_text(json.dumps({**me, "boot_id": boot_id()}))
    assert sessions.status_of(paths) is Status.INTERRUPTED
