"""The bell rings once when a run that was seen running has ended, and at nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import done_session, make_session, opening, steps, write
from tests.ui.conftest import run_of, show
from tui_lora.core.status import Status
from tui_lora.ui.app import TuiLora


async def test_it_rings_once_for_each_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    paths = make_session(root, "live")
    write(paths, opening(400), steps(1, 250, 400))
    app = TuiLora(root, session=paths, live=False)
    monkeypatch.setattr(app, "bell", lambda: rung.append("bell"))
    async with app.run_test() as pilot:
        await show(pilot, run_of(paths, Status.RUNNING))
        await show(pilot, run_of(paths, Status.HOLDING))
        assert rung == []
        await show(pilot, run_of(paths, Status.PAUSED))
        await show(pilot, run_of(paths, Status.INTERRUPTED))
        assert rung == ["bell"]


async def test_a_run_that_had_ended_before_is_silent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    paths = done_session(root)
    app = TuiLora(root, session=paths, live=False)
    monkeypatch.setattr(app, "bell", lambda: rung.append("bell"))
    async with app.run_test() as pilot:
        await show(pilot, run_of(paths))
        assert rung == []
