"""Settings: every setting by keyboard, wrong values, presets, undo, files, and the start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.conftest import notice, page, picture, until
from tui_lora.core import fields
from tui_lora.core.errors import UserError
from tui_lora.core.fields import Setting, get
from tui_lora.core.spec import check_spec
from tui_lora.core.status import Status
from tui_lora.core.view import RunView
from tui_lora.store import demo_model, runs, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.launch import lives
from tui_lora.store.paths import SessionPaths
from tui_lora.store.presets import read_preset
from tui_lora.store.spec_file import read_spec
from tui_lora.ui.app import TuiLora
from tui_lora.ui.forms.ask_line import AskLine
from tui_lora.ui.forms.entry import setting_at
from tui_lora.ui.forms.form import Form
from tui_lora.ui.forms.picker import Picker
from tui_lora.ui.forms.rows import Rows
from tui_lora.ui.messages import DraftReplaced
from tui_lora.ui.screens.help import HelpScreen
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Block, Line
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens

OTHER = {
    "quantization.keep": "down_proj",
    "lora.exclude": "down_proj",
    "lora.layers": "0-3",
    "lora.rank_pattern": "q_proj=8, v_proj=4",
    "lora.alpha_pattern": "q_proj=2.5",
    "lora.modules_to_save": "lm_head",
    "model.id": "/models/tiny",
    "model.revision": "main",
    "dataset.path": "/data/rows.jsonl",
    "dataset.eval_path": "/data/held.jsonl",
    "dataset.columns": "prompt={a}, {b}, completion=c",
    "dataset.mix": "more.jsonl*0.5, other.md",
    "lora.target_modules": "q_proj, v_proj",
    "hardware.devices": "cpu",
}
GOOD = {"model": {"id": "/models/tiny"}, "dataset": {"path": "/data/rows.jsonl"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a key, let every message be handled, but do not wait for an idle processor."""

    async def handled(*_: float) -> None:
        for _turn in range(60):
            await asyncio.sleep(0)

    monkeypatch.setattr("textual.app.wait_for_idle", handled)
    monkeypatch.setattr("textual.pilot.wait_for_idle", handled)


def open_settings(root: Path, draft: Draft | None = None) -> TuiLora:
    app = TuiLora(root, start="settings", live=False)
    if draft is not None:
        app.set_reactive(TuiLora.draft, draft)
    return app


def form(app: TuiLora) -> Form:
    return page(app).query_one(Form)


def field(app: TuiLora) -> Input:
    return form(app).query_one(Input)


async def see(pilot: Pilot[None], words: str) -> None:
    """Wait until the words are on the screen: it is painted a moment after a key is handled."""
    app = pilot.app
    assert isinstance(app, TuiLora)
    await until(pilot, lambda: words in "\n".join(picture(app)))


def summary(app: TuiLora) -> str:
    return page(app).query_one("#summary", Line).said.plain


def hint(app: TuiLora) -> str:
    return "".join(line.plain for line in form(app).query_one("Editor Block", Block).said)


async def go_to(pilot: Pilot[None], path: str) -> None:
    """By keyboard: Tab from group to group, then down."""
    app = pilot.app
    assert isinstance(app, TuiLora)
    paths = shown(app)
    groups = list(dict.fromkeys(path.split(".")[0] for path in paths))
    group = path.split(".")[0]
    first = next(at for at, known in enumerate(paths) if known.split(".")[0] == group)
    downs = paths.index(path) - first
    await pilot.press("home", *["tab"] * groups.index(group), *["down"] * downs)
    assert pointed(pilot.app) == path


def shown(app: TuiLora) -> list[str]:
    """The paths of the settings that the form has rows for."""
    return [entry.path for entry in form(app).query_one(Rows).entries]


def pointed(app: App[None]) -> str:
    entry = app.screen_stack[0].query_one(Form).pointed
    assert entry is not None
    return entry.path


async def type_in(pilot: Pilot[None], text: str) -> None:
    """In the place of what is there, as a terminal pastes it."""
    typed = pilot.app.screen.focused
    assert isinstance(typed, Input)
    typed.select_all()
    if text:
        typed.post_message(events.Paste(text))
    else:
        await pilot.press("delete")
    await pilot.pause()


async def give(pilot: Pilot[None], path: str, text: str) -> None:
    """Type a value and keep it."""
    await go_to(pilot, path)
    await pilot.press("e")
    await type_in(pilot, text)
    await pilot.press("enter")


def another(setting: Setting) -> str:
    """A value other than the default, as it would be typed."""
    if setting.path in OTHER or setting.kind == "text":
        return OTHER.get(setting.path, "other")
    low = setting.minimum or 0
    return str(int(low) + 9) if setting.kind == "whole" else str(low + 0.125)


async def test_every_setting_is_edited_by_keyboard_and_reaches_the_draft(root: Path) -> None:
    edited: set[str] = set()
    for task in ("sft", "dpo", "kto"):
        # The penalty's width has a row only where there is a penalty, and so have others.
        parts = {"experimental": {"lorentzian": 0.5}, "peek": {"prompts": ["Why?"]}}
        app = open_settings(root, Draft("", {"task": task, **parts}))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("m", "down")
            for path in shown(app)[1:]:
                assert pointed(app) == path
                if path in edited:
                    await pilot.press("down")
                    continue
                setting, before = fields.setting_at(path), get(app.draft.data, path)
                if setting.choices or setting.kind == "yes_no":
                    await pilot.press("right")
                else:
                    await pilot.press("e")
                    assert form(app).editing == path
                    # What is typed takes the value's place; down keeps it and goes on.
                    field(app).post_message(events.Paste(another(setting)))
                    await pilot.press("down", "up")
                assert form(app).editing == ""
                assert get(app.draft.data, path) != before, path
                if path in ("task", "dataset.format"):
                    # They decide which settings there are.
                    await pilot.press("left")
                await pilot.press("down")
                edited.add(path)
            spec, _ = check_spec(app.draft.data)
            assert spec is None or spec.lora.target_modules == ("q_proj", "v_proj")
            assert spec is None or spec.dataset.columns == {"prompt": "{a}, {b}", "completion": "c"}
            assert spec is None or spec.dataset.mix == ("more.jsonl*0.5", "other.md")
            assert spec is not None or task != "sft"
    assert edited == {setting.path for setting in fields.settings()}


async def test_what_plays_no_part_in_the_task_is_not_shown(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "preference.beta" not in shown(app)
        assert {"dataset.loss_on", "training.packing"} <= set(shown(app))
        await go_to(pilot, "task")
        await pilot.press("right")
        await until(pilot, lambda: "dataset.loss_on" not in shown(app))
        assert "model.chat_template" not in shown(app)
        # The cursor stays on its setting, whatever comes and goes above it.
        assert pointed(app) == "task"
        await pilot.press("right")
        await until(pilot, lambda: "preference.loss" in shown(app))
        assert "preference.good_weight" not in shown(app)
        await until(pilot, lambda: "1e-5 for dpo" in notes_of(app))
        await give(pilot, "preference.beta", "0.3")
        await go_to(pilot, "task")
        await pilot.press("right")
        await until(pilot, lambda: "preference.desirable_weight" in shown(app))
        assert "preference.loss" not in shown(app)
        await pilot.press("right")
        # What was changed stays in sight, with the reason why it is unused.
        await until(pilot, lambda: "preference.desirable_weight" not in shown(app))
        assert "preference.beta" in shown(app)
        assert "unused: sft" in notes_of(app)


async def test_seldom_settings_are_folded_away_until_asked_for(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test(size=(80, 26)) as pilot:
        assert "dataset.streaming" not in shown(app)
        await go_to(pilot, "dataset.max_rows")
        await see(pilot, "Dataset   m shows 9 more")
        await pilot.press("m")
        await until(pilot, lambda: "dataset.streaming" in shown(app))
        assert pointed(app) == "dataset.max_rows"
        await see(pilot, "m folds 9 away")
        await give(pilot, "dataset.split", "train")
        await pilot.press("m")
        await until(pilot, lambda: "dataset.streaming" not in shown(app))
        assert "dataset.split" in shown(app)
        # Of plain text the overlap of passages is no seldom matter, and nothing is masked.
        await give(pilot, "dataset.format", "text")
        await until(pilot, lambda: "dataset.overlap" in shown(app))
        assert "dataset.loss_on" not in shown(app)


async def test_columns_are_typed_found_and_explained(root: Path, tmp_path: Path) -> None:
    rows = tmp_path / "faq.csv"
    rows.write_text("question,answer\n" + "who?,me\n" * 4)
    data = {"model": {"id": "/models/tiny"}, "dataset": {"path": str(rows)}}
    app = open_settings(root, Draft("", data))
    async with app.run_test(size=(100, 40)) as pilot:
        await see(pilot, "prompt=question, completion=answer")
        await give(pilot, "dataset.columns", "promt=question")
        assert "is no part of a row" in hint(app)
        assert form(app).editing == "dataset.columns"
        await type_in(pilot, "prompt=answer, completion=question")
        await pilot.press("enter")
        await until(
            pilot,
            lambda: (
                get(app.draft.data, "dataset.columns")
                == {"prompt": "answer", "completion": "question"}
            ),
        )
        await see(pilot, "• prompt=answer, completion=question")
        await pilot.press("question_mark")
        await see(pilot, "now          prompt=answer, completion=question")


async def test_rows_that_cannot_teach_the_task_are_said_before_the_start(
    root: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "labels.jsonl"
    rows.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n' * 3)
    data = {"model": {"id": "/models/tiny"}, "dataset": {"path": str(rows)}}
    app = open_settings(root, Draft("", data))
    async with app.run_test(size=(100, 40)) as pilot:
        await see(pilot, "set task to classification")
        assert "1 problem" in summary(app)
        await go_to(pilot, "task")
        await pilot.press("right")
        await until(pilot, lambda: "✓ s starts it" in summary(app))


def notes_of(app: TuiLora) -> str:
    return " ".join(entry.note.text for entry in form(app).query_one(Rows).entries)


async def test_a_move_paints_two_rows(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.model_seen.why)
        await pilot.pause()
        painted: list[Any] = []
        rows = page(app).query_one(Rows)
        refresh = rows.refresh

        def counted(*regions: Any, **others: Any) -> Any:
            painted.extend(regions or ("everything",))
            return refresh(*regions, **others)

        rows.refresh = counted  # type: ignore[method-assign]
        await pilot.press("down")
        # What the disk answers meanwhile may paint a row anew.
        assert len(set(painted)) == 2
        assert all(region.height == 1 for region in painted)


async def test_one_column_when_narrow_and_two_when_wide(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "LoRA" not in "\n".join(picture(app))
        assert "rows a step 16" in picture(app)[21]
        # Beside the headroom.
        await pilot.resize_terminal(160, 44)
        await pilot.pause()
        for path in shown(app):
            await see(pilot, setting_at(path).label)
        assert picture(app)[2].split()[:2] == ["Session", "Training"]
        await pilot.resize_terminal(60, 16)
        await pilot.press("end")
        await pilot.pause()
        await see(pilot, "▸ out of memory")


async def test_choices_cycle_and_open_a_list(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test() as pilot:
        await go_to(pilot, "quantization.scheme")
        await pilot.press("left")
        await pilot.pause()
        assert get(app.draft.data, "quantization.scheme") == "fp4"
        await pilot.press("space")
        await pilot.pause()
        assert get(app.draft.data, "quantization.scheme") == "none"
        await pilot.press("enter")
        assert isinstance(app.screen, Picker)
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert get(app.draft.data, "quantization.scheme") == "nf4"
        await pilot.press("enter", "down", "escape")
        await pilot.pause()
        assert get(app.draft.data, "quantization.scheme") == "nf4"
        await go_to(pilot, "training.packing")
        await pilot.press("right")
        await pilot.pause()
        assert get(app.draft.data, "training.packing") is True
        await go_to(pilot, "quantization.double_quant")
        await pilot.press("enter")
        await pilot.pause()
        assert get(app.draft.data, "quantization.double_quant") is False


async def test_wrong_values_stay_typed_until_mended_or_left(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test() as pilot:
        await go_to(pilot, "lora.r")
        await pilot.press("enter")
        assert "1 to 1,024" in hint(app)
        for text in ("0", "x", "-3", "1e99", "[/r]", "9" * 40, ""):
            await type_in(pilot, text)
            await pilot.press("enter", "down")
            assert form(app).editing == "lora.r"
            assert field(app).value == text
            assert "ust be" in hint(app) or "too large" in hint(app), text
            assert "r" not in app.draft.data.get("lora", {})
        await pilot.press("escape")
        await pilot.pause()
        assert form(app).editing == ""
        assert "lora" not in app.draft.data
        await give(pilot, "lora.r", "1,024")
        assert get(app.draft.data, "lora.r") == 1024


async def test_a_clash_is_said_while_typing_and_stays_below_its_field(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test() as pilot:
        await give(pilot, "training.warmup", "20")
        await go_to(pilot, "training.max_steps")
        await pilot.press("e")
        await type_in(pilot, "10")
        assert "warm-up: warms up for 20 steps" in hint(app)
        await pilot.press("enter")
        await pilot.pause()
        assert get(app.draft.data, "training.max_steps") == 10
        assert "1 problem" in summary(app)
        await pilot.press("end", "home")
        await go_to(pilot, "training.warmup")
        await see(pilot, "▲ 20")
        await see(pilot, "Warms up for 20 steps")


async def test_rules_are_checked_before_a_model_is_chosen(root: Path) -> None:
    app = open_settings(root)
    async with app.run_test() as pilot:
        assert "2 problems" in summary(app)
        await give(pilot, "training.warmup", "1.5")
        assert "3 problems" in summary(app)


async def test_single_keys_hold_only_outside_an_edit(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test() as pilot:
        await go_to(pilot, "model.revision")
        await pilot.press("enter")
        await type_in(pilot, "sup do w 1?")
        assert field(app).value == "sup do w 1?"
        assert app.screen is page(app)
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert app.screen is not page(app)
        await pilot.press("escape")
        await pilot.pause()
        assert field(app).has_focus
        await pilot.press("down")
        await pilot.pause()
        assert get(app.draft.data, "model.revision") == "sup do w 1?"
        assert pointed(app) == "model.dtype"


async def test_default_and_undo_in_several_levels(root: Path) -> None:
    app = open_settings(root, Draft("", GOOD))
    async with app.run_test() as pilot:
        await give(pilot, "lora.r", "8")
        await give(pilot, "lora.alpha", "8")
        await go_to(pilot, "lora.r")
        await pilot.press("d")
        await pilot.pause()
        assert get(app.draft.data, "lora.r") == 16
        for r, alpha in ((8, 8), (8, 32), (16, 32)):
            await pilot.press("u")
            await pilot.pause()
            now = app.draft.data
            assert (get(now, "lora.r"), get(now, "lora.alpha")) == (r, alpha)
        assert app.draft.data == GOOD
        await pilot.press("u")
        assert app.draft.data == GOOD


@pytest.mark.parametrize("name", ["quickstart", "8gb-7b", "dpo", "docs-qa", "llama2-7b-t4"])
async def test_presets_fill_the_form_and_keep_what_they_leave_open(root: Path, name: str) -> None:
    app = open_settings(root, Draft("mine", GOOD))
    async with app.run_test() as pilot:
        await pilot.press("p")
        assert isinstance(app.screen, Picker)
        app.screen.query_one(Table).point(name)
        await pilot.press("enter")
        await pilot.pause()
        spec, problems = check_spec(app.draft.data)
        assert spec is not None
        assert not problems
        assert app.draft.name == "mine"
        own = read_preset(name).data
        assert (spec.model.id == "/models/tiny") is ("model" not in own)
        assert (spec.dataset.path == "/data/rows.jsonl") is (get(own, "dataset.path") is ...)
        await pilot.press("u")
        await pilot.pause()
        assert app.draft == Draft("mine", GOOD)


async def test_what_follows_is_true_and_unknown_is_a_dash(root: Path, rows: Path) -> None:
    app = open_settings(root)
    async with app.run_test(size=(120, 40)) as pilot:
        assert summary(app).startswith("steps —   rows a step 16   rows —   scale 2")
        await give(pilot, "dataset.path", str(rows))
        await until(pilot, lambda: "rows 36 + 4 held out" in summary(app))
        # ceil(36 / 2) = 18 batches, ceil(18 / 8) = 3 steps an epoch, 3 epochs.
        assert summary(app).startswith("steps about 9 ")
        await give(pilot, "training.accumulation", "3")
        await give(pilot, "lora.variant", "rslora")
        assert summary(app).startswith("steps about 18   rows a step 6")
        assert "scale 8" in summary(app)
        await give(pilot, "training.max_steps", "12")
        assert summary(app).startswith("steps 12 ")
        await see(pilot, "2 epochs")


async def test_rows_that_are_mixed_in_and_held_out_are_counted(
    root: Path, rows: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text('{"prompt": "q", "completion": "a"}\n' * 5)
    data = {"path": str(rows), "mix": [f"{more}*2.4"], "max_rows": 30}
    app = open_settings(root, Draft("", {"model": {"id": "/models/tiny"}, "dataset": data}))
    async with app.run_test(size=(120, 40)) as pilot:
        # 27 of the first 30, and 5 twice and two of them once more.
        await until(pilot, lambda: "rows 39 + 3 held out" in summary(app))
        assert "12 rows" in notes_of(app)


async def test_help_has_the_users_own_values(root: Path) -> None:
    app = open_settings(root, Draft("", {**GOOD, "lora": {"r": 8}}))
    async with app.run_test(size=(100, 40)) as pilot:
        await go_to(pilot, "lora.r")
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        shown = "\n".join(picture(app))
        for words in ("LoraConfig.r", "1 to 1,024", "lora.r", "Width of the bypass"):
            assert words in shown
        assert any(row.split()[:2] == ["now", "8"] for row in picture(app))
        assert any(row.split()[:2] == ["default", "16"] for row in picture(app))


async def test_a_name_is_proposed_and_checked(root: Path, rows: Path) -> None:
    (root / "train-tiny").mkdir()
    data = {"model": {"id": "/models/tiny"}, "dataset": {"path": str(rows)}}
    app = open_settings(root, Draft("", data))
    async with app.run_test() as pilot:
        await see(pilot, "train-tiny-2")
        await pilot.press("home", "enter")
        await type_in(pilot, "../up")
        await pilot.press("enter")
        assert form(app).editing == "name"
        assert "Cannot name a session" in hint(app)
        await type_in(pilot, "mine")
        await pilot.press("enter")
        await pilot.pause()
        assert app.draft.name == "mine"
        await until(pilot, lambda: "✓ s starts it" in summary(app))


async def test_a_name_that_is_taken_is_said_before_the_start(root: Path, rows: Path) -> None:
    (root / "mine").mkdir()
    data = {"model": {"id": "/models/tiny"}, "dataset": {"path": str(rows)}}
    app = open_settings(root, Draft("", data))
    async with app.run_test() as pilot:
        await until(pilot, lambda: "✓ s starts it" in summary(app))
        await give(pilot, "name", "mine")
        await see(pilot, "Is taken: there is already a session mine.")
        assert "▲ 1 problem" in summary(app)
        # As long as a name may be, which a name that is proposed never is.
        await give(pilot, "name", "x" * 64)
        await until(pilot, lambda: "✓ s starts it" in summary(app))


async def test_only_choices_can_be_turned(root: Path) -> None:
    app = open_settings(root)
    async with app.run_test(size=(100, 50)) as pilot:
        await go_to(pilot, "lora.r")
        await pilot.press("question_mark")
        await see(pilot, "Width of the bypass")
        await pilot.press("end")
        await see(pilot, "ten down")
        assert "the next choice" not in "\n".join(picture(app))
        await pilot.press("escape")
        await go_to(pilot, "lora.variant")
        await pilot.press("question_mark")
        await see(pilot, "where to begin")
        await pilot.press("end")
        await see(pilot, "the next choice")


async def test_a_start_is_refused_with_every_problem_at_once(root: Path, tmp_path: Path) -> None:
    (root / "taken").mkdir()
    data = {
        "model": {"id": str(tmp_path / "no-model")},
        "dataset": {"path": str(tmp_path / "no-rows.jsonl")},
        "training": {"max_steps": 5, "warmup": 9, "micro_batch": 0},
        "lora": {"rank": 8},
        "evaluation": {"early_stopping": 1},
    }
    app = open_settings(root, Draft("taken", data))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        shown = "\n".join(picture(app))
        for label in (
            "Base · model",
            "Dataset · dataset",
            "Training · warm-up",
            "Training · micro-batch",
            "lora.rank",
            "name",
        ):
            assert label in shown
        assert "6 problems" in shown
        assert [path.name for path in root.iterdir()] == ["taken"]
        # Enter goes to the field; what is no setting is taken out.
        app.screen.query_one(Table).point("0")
        await pilot.press("enter")
        await pilot.pause()
        first = form(app).pointed
        assert app.screen is page(app)
        assert first is not None
        assert first.problem or "rank" not in app.draft.data["lora"]


async def test_a_setting_that_does_not_exist_is_taken_out(root: Path) -> None:
    app = open_settings(root, Draft("", {**GOOD, "lora": {"rank": 8, "alpha": 4}}))
    async with app.run_test() as pilot:
        await pilot.press("x", "enter")
        await pilot.pause()
        assert app.draft.data["lora"] == {"alpha": 4}
        await until(pilot, lambda: "lora.rank" in notice(app))


async def test_a_draft_of_any_shape_is_shown(root: Path) -> None:
    odd: dict[str, Any] = {
        "model": "just/a-name",
        "dataset": ["no", "mapping"],
        "lora": {"r": {"deep": [1]}, "alpha": "[bold]\x1b[2J", "target_modules": None},
        "training": None,
        "evaluation": {"keep": True},
        "nonsense": 1,
    }
    app = open_settings(root, Draft("../..", odd))
    async with app.run_test() as pilot:
        await pilot.press("end", "s")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        assert not list(root.iterdir())


async def test_rows_lead_to_their_screens(root: Path) -> None:
    app = open_settings(root)
    async with app.run_test() as pilot:
        await go_to(pilot, "model.id")
        await pilot.press("enter")
        await pilot.pause()
        assert app.current_mode == "model"
        await pilot.press("4")
        await go_to(pilot, "dataset.path")
        await pilot.press("enter")
        await pilot.pause()
        assert app.current_mode == "data"


async def test_a_spec_is_written_and_opened(root: Path, rows: Path, tmp_path: Path) -> None:
    data = {"model": {"id": "/models/tiny"}, "dataset": {"path": str(rows)}, "lora": {"r": 4}}
    app = open_settings(root, Draft("", data))
    file = tmp_path / "my.yaml"
    async with app.run_test(size=(200, 30)) as pilot:
        ask = page(app).query_one(AskLine)
        await pilot.press("w")
        page(app).query_one("AskLine Input", Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: not ask.purpose)
        assert read_spec(file).lora.r == 4
        await until(pilot, lambda: str(file) in notice(app))
        # Not over a file that is there, unless asked twice.
        file.write_text("lora: {r: 5, rank: 6}\nmodel: m\ndataset: d\n")
        await pilot.press("w")
        page(app).query_one("AskLine Input", Input).value = str(file)
        await pilot.press("enter")
        await see(pilot, "Enter again")
        assert "rank" in file.read_text()
        await pilot.press("escape", "o")
        page(app).query_one("AskLine Input", Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await see(pilot, "line 1  lora.rank")
        await see(pilot, "Known here: r, alpha")
        await pilot.press("escape")
        assert app.draft.data == data
        file.write_text("lora: {r: 5}\nmodel: ./m\ndataset: d.jsonl\n")
        await pilot.press("o")
        page(app).query_one("AskLine Input", Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: get(app.draft.data, "lora.r") == 5)
        assert get(app.draft.data, "dataset.path") == str(tmp_path / "d.jsonl")
        await pilot.press("o")
        page(app).query_one("AskLine Input", Input).value = str(tmp_path / "none.yaml")
        await pilot.press("enter")
        await see(pilot, "there is no file")


async def test_a_wrong_draft_is_not_written(root: Path) -> None:
    app = open_settings(root)
    async with app.run_test() as pilot:
        await pilot.press("w")
        assert isinstance(app.screen, Picker)


async def test_a_fetch_is_shown_and_can_be_called_off(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(on_progress: demo_model.Progress) -> Path:
        while True:
            on_progress("fetching the demo model", 0.25)
            time.sleep(0.01)

    monkeypatch.setattr(demo_model, "ensure", fetch)
    app = open_settings(root)
    async with app.run_test() as pilot:
        app.post_message(DraftReplaced(Draft("", {"model": {"id": "smollm2-135m-instruct"}})))
        await give(pilot, "dataset.path", "quickstart")
        await pilot.press("s")
        await until(pilot, lambda: "fetching the demo model" in summary(app))
        assert "25%" in summary(app)
        assert app.screen is page(app)
        await pilot.press("escape")
        await until(pilot, lambda: "not started" in notice(app))
        assert "s starts it" in summary(app)
        assert not list(root.iterdir())


async def test_a_start_that_fails_says_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*arguments: Any, **others: Any) -> SessionPaths:
        raise UserError("sessions cannot be written to /x.", then="Choose another place.")

    monkeypatch.setattr(runs, "begin", begin)
    data = {"model": {"id": "smollm2-135m-instruct"}, "dataset": {"path": "quickstart"}}
    app = open_settings(root, Draft("", data))
    async with app.run_test() as pilot:
        await pilot.press("s")
        await until(pilot, lambda: "cannot be written" in notice(app))
        assert "s starts it" in summary(app)


@pytest.mark.model
async def test_a_run_is_put_together_and_started_by_keyboard(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    app = open_settings(root)
    paths = SessionPaths(root / "by-hand")
    try:
        async with app.run_test(size=(80, 24)) as pilot:
            await give(pilot, "name", "by-hand")
            await give(pilot, "model.id", str(tiny_model))
            await give(pilot, "dataset.path", str(rows))
            await give(pilot, "lora.r", "4")
            await give(pilot, "training.max_steps", "400")
            await give(pilot, "training.warmup", "1")
            await give(pilot, "training.max_length", "64")
            await give(pilot, "hardware.devices", "cpu")
            await pilot.press("s")
            await until(pilot, lambda: app.current_mode == "train", seconds=60)
            assert app.session == paths
            assert app.draft.name == ""
            await until(pilot, lambda: _step(paths) >= 1, seconds=90)
            sessions.order_stop(paths)
            await until(pilot, lambda: not sessions.status_of(paths).alive, seconds=60)
    finally:
        _end(paths)
    assert sessions.status_of(paths) is Status.STOPPED
    assert read_spec(paths.spec).training.max_steps == 400
    assert (paths.adapter / "adapter_model.safetensors").is_file()


def _step(paths: SessionPaths) -> int:
    return sessions.fold(Tail(paths.events).read(1 << 24), RunView()).step


def _end(paths: SessionPaths) -> None:
    """No worker outlives its test."""
    pid = sessions.read_worker(paths).get("pid")
    if isinstance(pid, int) and sessions.status_of(paths).alive and lives(pid):
        os.kill(pid, signal.SIGKILL)


async def test_help_is_found_while_a_value_is_typed(root: Path) -> None:
    app = open_settings(root)
    async with app.run_test(size=(100, 50)) as pilot:
        await go_to(pilot, "lora.r")
        await pilot.press("enter", "ctrl+p")
        await pilot.press(*"help")
        await see(pilot, "what is this, which keys")
        await pilot.press("enter")
        await see(pilot, "LoraConfig.r")
        await pilot.press("escape")
        await pilot.pause()
        assert form(app).editing == "lora.r"
