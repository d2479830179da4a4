"""What was changed since a run was last at work, on the screen before it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stopped import edit, resolve, stopped_session
from tests.ui.conftest import notice, picture, run_of, show, until
from tui_lora.core.changed import CHECKPOINTS, ROWS
from tui_lora.store import launch
from tui_lora.store.paths import SessionPaths
from tui_lora.store.versions import versions
from tui_lora.ui.app import TuiLora
from tui_lora.ui.screens.changed import ChangedList

pytestmark = pytest.mark.screens

WIDE, SMALL = (120, 40), (80, 24)


@pytest.fixture
def run(root: Path) -> SessionPaths:
    return stopped_session(root, hardware__devices="cpu")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the workers were told to accept."""
    told: list[tuple[str, ...]] = []

    def start(*_: Any, accept: tuple[str, ...], **__: Any) -> int:
        told.append(tuple(accept))
        return 1

    monkeypatch.setattr(launch, "start_training", start)
    return told


async def test_nothing_is_asked_where_nothing_changed(
    run: SessionPaths, root: Path, started: list[tuple[str, ...]]
) -> None:
    resolve(run, versions={**versions(), "python": "3.9.1"})
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, run_of(run))
        await pilot.press("r")
        await until(pilot, lambda: "is running" in notice(app))
        assert started == [()]


async def test_it_goes_on_with_what_was_seen(
    run: SessionPaths, root: Path, started: list[tuple[str, ...]]
) -> None:
    (root / "rows.jsonl").write_text('{"text": "[/INST] [red]other[/]"}\n' * 9)
    resolve(run, versions={**versions(), "torch": "1.2.3", "python": "3.9.1"})
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, run_of(run))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ChangedList))
        await pilot.pause()
        seen = "\n".join(picture(app))
        assert "Changed since run was last at work" in seen
        assert "!  dataset.path" in seen
        assert "!  torch" in seen
        assert "·  python" in seen
        assert "Enter goes on with all of it" in seen
        assert "rows.jsonl holds other rows" in seen
        await pilot.press("down")
        await pilot.pause()
        assert "rounding, random numbers" in "\n".join(picture(app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ChangedList))
        assert not started
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ChangedList))
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: started)
        assert started == [("dataset.path", "torch", ROWS)]


async def test_what_a_checkpoint_does_not_survive_cannot_be_accepted(
    run: SessionPaths, root: Path, started: list[tuple[str, ...]]
) -> None:
    edit(run, "lora.r", 3)
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=WIDE) as pilot:
        await show(pilot, run_of(run))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ChangedList))
        await pilot.pause()
        seen = "\n".join(picture(app))
        assert "✗  lora.r" in seen
        assert "put it back, or duplicate the run" in seen
        assert "Enter" not in seen
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ChangedList)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ChangedList))
        assert not started


async def test_to_begin_anew_is_asked_too(
    run: SessionPaths, root: Path, started: list[tuple[str, ...]]
) -> None:
    (run.checkpoints / "step-000200" / "weights").write_bytes(b"")
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=SMALL) as pilot:
        await show(pilot, run_of(run))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ChangedList))
        await pilot.pause()
        seen = "\n".join(picture(app))
        assert "!  checkpoints" in seen
        assert "step-000200: weights has 0 of 1 bytes" in seen
        assert "Enter begins anew" in seen
        assert started == []
        await pilot.press("enter")
        await until(pilot, lambda: "is running" in notice(app))
        assert started == [(CHECKPOINTS,)]
