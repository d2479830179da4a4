"""The switchboard: screens, leaving, help, palette, the draft, small terminals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorded import done_session, make_session, opening, steps, write
from tests.ui.conftest import keys, notice, page, picture, run_of, show, until
from tui_lora.core.errors import UserError
from tui_lora.core.status import Status
from tui_lora.ui import run_app as run_module
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import DraftReplaced, SensorsRead, SettingsChanged
from tui_lora.ui.run_app import run_app
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Line


def test_the_first_frame_loads_nothing_heavy() -> None:
    code = """
import sys
from tui_lora.ui.terminal import prepare_environment
assert "textual" not in sys.modules
prepare_environment()
import tui_lora.ui.app
from tui_lora.ui.keymap import place
place("sessions").load(), place("train").load()
heavy = "torch transformers datasets pandas pyarrow numpy textual_plot pynvml pydantic".split()
sys.exit(" ".join(name for name in heavy if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


async def test_number_keys_switch_and_the_session_stays(root: Path) -> None:
    paths = done_session(root, total=30)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.current_mode == "train"
        await show(pilot, run_of(paths))
        await pilot.press("1")
        assert app.current_mode == "sessions"
        assert "done" in picture(app)[0]
        await pilot.press("5")
        assert app.current_mode == "train"
        assert app.session == paths


async def test_a_hidden_screen_catches_up(root: Path) -> None:
    paths = make_session(root)
    count = write(paths, opening(400), steps(1, 10, 400))
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths, Status.RUNNING))
        train = page(app)
        await pilot.press("1")
        write(paths, steps(11, 20, 400), first=count + 1)
        await show(pilot, run_of(paths, Status.RUNNING))
        assert "step  10" in train.query_one("#state", Line).said.plain
        await pilot.press("5")
        await until(pilot, lambda: "step  20" in train.query_one("#state", Line).said.plain)


async def test_q_leaves_and_ctrl_c_says_how(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+c")
        assert "q leaves" in notice(app)
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running


def test_goodbye_names_the_run_that_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = make_session(root, "live")
    write(paths, opening(400), steps(1, 10, 400))

    def run(app: TuiLora) -> None:
        app.set_reactive(TuiLora.run_now, run_of(paths, Status.RUNNING))

    monkeypatch.setattr(run_module, "leave_on_hangup", lambda: None)
    monkeypatch.setattr(TuiLora, "run", run)
    assert run_app(root, open_session="live") == 0
    said = capsys.readouterr().out
    assert "live goes on (step 10 of 400)" in said
    assert "tui-lora watch live" in said
    with pytest.raises(UserError, match="no session"):
        run_app(root, open_session="nowhere")


async def test_help_is_made_from_the_bindings(root: Path) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 10, 400))
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(100, 60)) as pilot:
        await show(pilot, run_of(paths, Status.RUNNING))
        await pilot.press("question_mark")
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert "belongs to no terminal" in shown
        assert "save a checkpoint now" in shown
        assert "choose a screen" in shown
        assert "^p   find any action; themes" in shown
        await pilot.press("escape")
        assert len(app.screen_stack) == 1


async def test_help_begins_with_what_the_screen_is_for(root: Path) -> None:
    app = TuiLora(root, start="model", live=False)
    async with app.run_test(size=(100, 60)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        shown = "\n".join(picture(app))
        order = ["t   type a Hub id", "↑   one row up", "PgUp   a page up", "1   every run"]
        places = [shown.index(words) for words in order]
        assert places == sorted(places)


@pytest.mark.parametrize("key", ["2", "3", "4"])
async def test_screens_of_the_draft_do_not_name_a_session(root: Path, key: str) -> None:
    app = TuiLora(root, session=done_session(root, total=30), live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: " draft " in picture(app)[0])
        assert "done" not in picture(app)[0]


async def test_the_palette_finds_themes_and_actions(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.press(*"paper")
        await until(pilot, lambda: "Theme: paper" in "\n".join(picture(app)))
        await pilot.press("enter")
        await until(pilot, lambda: app.theme == "paper")
        await pilot.press("ctrl+o")
        await pilot.press(*"train")
        await until(pilot, lambda: "watch a run" in "\n".join(picture(app)))
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")


async def test_the_draft_is_kept_as_it_changes(root: Path, config: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test() as pilot:
        app.post_message(DraftReplaced(Draft("mine", {"model": {"id": "m"}})))
        for rank in range(1, 30):
            app.post_message(SettingsChanged({"lora.r": rank, "dataset.path": "d.jsonl"}))
        await until(pilot, lambda: app.draft.data.get("lora") == {"r": 29})
        path = config / "draft.json"
        wanted = {"model": {"id": "m"}, "lora": {"r": 29}, "dataset": {"path": "d.jsonl"}}
        await until(pilot, lambda: path.exists() and json.loads(path.read_text())["spec"] == wanted)
        spec, problems = app.draft.check()
        assert spec is not None
        assert not problems
    again = TuiLora(root, live=False)
    assert again.draft == Draft("mine", wanted)
    path.write_text("{")
    assert TuiLora(root, live=False).draft == Draft()


async def test_a_config_folder_that_cannot_be_written_is_a_message(
    root: Path, config: Path
) -> None:
    config.write_text("a file where a folder should be")
    app = TuiLora(root, live=False)
    async with app.run_test(size=(100, 30)) as pilot:
        app.post_message(SettingsChanged({"lora.r": 4}))
        await until(pilot, lambda: "could not be kept" in notice(app))
        app.choose_theme("paper")
        assert "could not be remembered" in notice(app)
        assert app.theme == "paper"


async def test_a_terminal_that_became_too_small_says_so(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        for size in ((40, 24), (80, 10), (20, 5)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert "too small" in "\n".join(picture(app))
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "too small" not in "\n".join(picture(app))
        await until(pilot, lambda: "leave" in keys(app))


async def test_sensors_reach_the_top_line(root: Path) -> None:
    from tui_lora.core.sensors import MachineReading, SensorReading

    app = TuiLora(root, live=False)
    async with app.run_test(size=(120, 30)) as pilot:
        reading = SensorReading((), MachineReading(31.0, 5.2, 12.0, 8), "no driver")
        app.post_message(SensorsRead(reading))
        await until(pilot, lambda: "no GPU" in picture(app)[0])
        assert "5.2 of 31.0 GiB" in picture(app)[0]
        assert "12% of 8 cores" in picture(app)[0]
