"""The bell rings once when a run that was seen running has ended, chosen or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.obedient import worker
from tests.recorded import done_session, make_session, opening, steps, write
from tests.ui.conftest import until
from tui_lora.core.orders import Pause, Stop
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.ui import feed
from tui_lora.ui.app import TuiLora


async def test_it_rings_once_for_each_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that had ended before are silent."""
    rung: list[str] = []
    monkeypatch.setattr(feed, "ENDS_EVERY_S", 0.05)
    done_session(root, "before")
    chosen, other = (make_session(root, name) for name in ("chosen", "other"))
    for paths in (chosen, other):
        write(paths, opening(400), steps(1, 250, 400))
    app = TuiLora(root, session=chosen)
    monkeypatch.setattr(app, "bell", lambda: rung.append("bell"))
    with worker(chosen), worker(other):
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.run_now and app.run_now.status is Status.RUNNING)
            assert rung == []
            sessions.give(other, Stop)
            await until(pilot, lambda: rung)
            sessions.give(chosen, Pause)
            await until(pilot, lambda: rung[1:])
            await until(pilot, lambda: app.run_now and app.run_now.status is Status.PAUSED)
            assert rung == ["bell", "bell"]
