"""What the Settings screen says of the draft's model: notes, problems, help, and its layers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.conftest import notice, page, picture
from tests.ui.conftest import until as until_within
from tests.ui.fake_inspect import GATE, start_fake_inspect
from tui_lora.core import fields
from tui_lora.core.errors import Problem
from tui_lora.core.explanations import EXPLANATIONS
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.store import launch
from tui_lora.ui.app import TuiLora
from tui_lora.ui.forms.checked import check
from tui_lora.ui.forms.derived import notes
from tui_lora.ui.forms.entry import MARK_AT, Note, sentence
from tui_lora.ui.forms.form import Form
from tui_lora.ui.forms.known import known_of
from tui_lora.ui.forms.module_picker import ModulePicker
from tui_lora.ui.forms.picker import Picker
from tui_lora.ui.forms.rows import Rows
from tui_lora.ui.forms.survey import Survey
from tui_lora.ui.messages import DraftReplaced, SettingsChanged
from tui_lora.ui.screens.help import HelpScreen
from tui_lora.ui.state import Draft, ModelSeen
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens

ALL_16 = 16 * 2 * ((64 + 64) + (64 + 32) + (64 + 128))
"""What rank 16 trains on all of the fake's linear layers but the output."""

Started = list[subprocess.Popen[bytes]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The inspect workers that were started, all of them fakes."""
    found: Started = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        found.append(start_fake_inspect(kind))
        return found[-1]

    monkeypatch.setattr(launch, "start_pipe_worker", start)
    return found


async def until(pilot: Pilot[None], done: Callable[[], object]) -> None:
    """Workers are processes, which a busy machine starts slowly."""
    await until_within(pilot, done, 20.0)


def settings(root: Path, model: str = "tiny", **sections: Any) -> TuiLora:
    data = {"dataset": {"path": "/data/rows.jsonl"}, **sections}
    data["model"] = {"id": model} if model else {}
    app = TuiLora(root, start="settings", live=False)
    app.set_reactive(TuiLora.draft, Draft("", data))
    return app


def note(app: TuiLora, path: str) -> str:
    entries = page(app).query_one(Rows).entries
    return next(entry.note.text for entry in entries if entry.path == path)


def problem(app: TuiLora, path: str) -> str:
    entries = page(app).query_one(Rows).entries
    return next(entry.problem for entry in entries if entry.path == path)


def point(app: TuiLora, path: str) -> None:
    page(app).query_one(Form).point(path)


async def open_layers(pilot: Pilot[None], app: TuiLora) -> ModulePicker:
    """The list of the model's layers, by keyboard."""
    point(app, "lora.target_modules")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, Picker))
    app.screen.query_one(Table).point(":pick")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ModulePicker))
    assert isinstance(app.screen, ModulePicker)
    return app.screen


async def test_settings_say_what_they_mean_for_the_model(root: Path, started: Started) -> None:
    app = settings(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        assert note(app, "lora.target_modules") == "13.3 k trainable, 8.5%"
        assert note(app, "lora.alpha") == "scale α/r = 2"
        # AdamW's two numbers, as precise as the adapter: bfloat16.
        assert note(app, "training.optimizer") == f"{4 * ALL_16 / 2**20:.3g} MiB state"
        app.post_message(SettingsChanged({"lora.r": 8}))
        await until(pilot, lambda: note(app, "lora.target_modules") == "6,656 trainable, 4.2%")
    assert len(started) == 1
    assert started[0].wait(60) == 0


async def test_nothing_is_asked_without_a_model(root: Path, started: Started) -> None:
    app = settings(root, model="")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.5)
        assert note(app, "lora.r") == ""
        assert started == []
        app.post_message(SettingsChanged({"model.id": "tiny"}))
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")


async def test_an_answer_for_other_settings_is_never_shown(
    root: Path, tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv(GATE, str(gate))
    app = settings(root, model="slow")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        gate.touch()
        app.post_message(SettingsChanged({"lora.target_modules": ("q_proj",)}))
        await until(pilot, lambda: app.draft.data.get("lora"))
        # Not known yet, and the model itself stays known.
        assert note(app, "lora.r") == "— layers"
        assert app.model_seen.looked is None
        assert app.model_seen.shape is not None
        app.post_message(SettingsChanged({"lora.target_modules": ("up_proj",)}))
        gate.unlink()
        seen: set[str] = set()
        await until(pilot, lambda: seen.add(note(app, "lora.r")) or "2 layers" in seen)
        assert seen == {"— layers", "2 layers"}
        looked = app.model_seen.looked
        assert looked is not None
        assert [g.name for g in looked.shape.modules if g.adapted] == ["up_proj"]
        # A draft whose adapter does not hold by itself is reckoned with nowhere.
        app.post_message(SettingsChanged({"lora.r": "many"}))
        await until(pilot, lambda: problem(app, "lora.r"))
        await pilot.pause(0.4)
        assert note(app, "lora.target_modules") == ""


async def test_what_the_structure_is_against_stands_at_its_field(
    root: Path, started: Started
) -> None:
    app = settings(root, lora={"target_modules": ["nope"]})
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: problem(app, "lora.target_modules"))
        assert "no linear layer called nope" in problem(app, "lora.target_modules")
        assert "1 problem" in page(app).query_one("#summary", Line).said.plain
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press("enter")
        assert page(app).query_one(Form).pointed is not None
        assert page(app).query_one(Form).pointed.path == "lora.target_modules"  # type: ignore[union-attr]


async def test_a_model_that_is_not_here_is_unknown_and_no_problem(
    root: Path, started: Started
) -> None:
    app = settings(root, model="away")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.model_seen.why)
        assert note(app, "lora.r") == ""
        point(app, "lora.target_modules")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        assert "not known yet" in "\n".join(picture(app))
        app.screen.query_one(Table).point(":pick")
        await until(pilot, lambda: "not on this machine" in "\n".join(picture(app)))
        await pilot.press("enter")
        await until(pilot, lambda: "not on this machine" in notice(app))


async def test_layers_are_marked_and_become_targets(root: Path, started: Started) -> None:
    app = settings(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        panel = await open_layers(pilot, app)

        def total() -> str:
            return panel.query_one("#total", Line).said.plain

        def marks() -> list[str]:
            return [row.cells[0].plain.strip() for row in panel.query_one(Table).rows]

        assert marks() == ["[x]", "[x]", "[x]", "–"]
        assert total() == f"{ALL_16:,} trainable (8.5%) in 6 layers at rank 16"
        screen = "\n".join(picture(app))
        assert "64 x 64" in screen
        assert "Esc leaves" in screen
        # Attention off, then its second layer on again.
        await pilot.press("a", "down", "space")
        assert marks() == ["[ ]", "[x]", "[x]", "–"]
        assert total().startswith(f"{16 * 2 * (96 + 192):,} trainable")
        # The output is refused, and says why.
        await pilot.press("end", "space")
        assert marks()[-1] == "–"
        assert "the loss is computed" in panel.query_one("#about-layer", Lines).said[0].plain
        await pilot.press("enter")
        await until(pilot, lambda: app.draft.data.get("lora"))
        assert app.draft.data["lora"]["target_modules"] == ("up_proj", "v_proj")
        await until(pilot, lambda: note(app, "lora.r") == "4 layers")
        panel = await open_layers(pilot, app)
        assert marks() == ["[ ]", "[x]", "[x]", "–"]
        await pilot.press("e", "escape")
        assert app.draft.data["lora"]["target_modules"] == ("up_proj", "v_proj")
        # Every layer is what all-linear means; none cannot be taken.
        panel = await open_layers(pilot, app)
        await pilot.press("e", "e", "enter")
        assert app.screen is panel
        await pilot.press("e", "enter")
        await until(pilot, lambda: app.draft.data["lora"]["target_modules"] == "all-linear")


async def test_groups_and_names_are_chosen_from_the_list(root: Path, started: Started) -> None:
    app = settings(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        point(app, "lora.target_modules")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        screen = "\n".join(picture(app))
        assert f"6 layers, {ALL_16:,} weights" in screen
        assert f"4 layers, {16 * 2 * (128 + 96):,} weights" in screen
        await pilot.press("end", "enter")
        await until(pilot, lambda: isinstance(app.focused, Input))
        assert page(app).query_one(Form).editing == "lora.target_modules"


async def test_help_has_the_numbers_of_this_model(root: Path, started: Started) -> None:
    app = settings(root)

    async def told(path: str) -> str:
        point(app, path)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        rows = app.screen.query_one("#help", Lines).said
        await pilot.press("escape")
        return " ".join(" ".join(row.plain for row in rows).split())

    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        rank = await told("lora.r")
        assert "q_proj 64 x 64 → A 16 x 64, B 64 x 16: 2,048 weights instead of 4,096, 50%" in rank
        assert f"6 layers get one: {ALL_16:,} weights" in rank
        assert "arXiv 2106.09685" in rank
        assert "nf4" in await told("quantization.scheme")
        assert "2 x 8 = 16 rows make a step" in await told("training.accumulation")
        # A panel that is longer than the screen scrolls, and says all along how it is left.
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("end")
        await until(pilot, lambda: "find any action" in "\n".join(picture(app)))
        assert "Esc closes" in "\n".join(picture(app))


async def test_choices_say_what_they_cost_or_lack(root: Path, started: Started) -> None:
    app = settings(root, quantization={"scheme": "nf4"})
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        for path, words in (
            ("training.optimizer", "MiB state"),
            ("quantization.scheme", "of weights"),
            ("lora.variant", "not with quantization nf4"),
        ):
            point(app, path)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, Picker))
            assert words in "\n".join(picture(app)), path
            assert "Esc leaves" in "\n".join(picture(app)), path
            await pilot.press("escape")


async def test_data_and_settings_share_one_worker(
    root: Path, tmp_path: Path, started: Started
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "What?", "answer": "That."}\n')
    app = settings(root)
    app.set_reactive(TuiLora.draft, app.draft.changed({"dataset.path": str(file)}))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        app.go("data")
        await until(pilot, lambda: "That." in "\n".join(picture(app)))
        app.go("settings")
        app.post_message(DraftReplaced(app.draft.changed({"lora.r": 4})))
        await until(pilot, lambda: note(app, "lora.target_modules") == "3,328 trainable, 2.1%")
        assert len(started) == 1
    assert started[0].wait(60) == 0


async def test_the_present_layers_are_marked_whatever_else_is_wrong(
    root: Path, started: Started
) -> None:
    app = settings(root)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: note(app, "lora.r") == "6 layers")
        app.post_message(SettingsChanged({"lora.r": 2000, "lora.target_modules": "attention"}))
        await until(pilot, lambda: problem(app, "lora.r"))
        await open_layers(pilot, app)
        shown = "\n".join(picture(app))
        assert "[x]  q_proj" in shown
        assert "[ ]  up_proj" in shown
        # Where each stands, without what all paths begin with.
        assert "model.layers.*.self_attn" not in shown.split("trainable (")[0]


def test_every_label_has_room_in_its_column() -> None:
    assert [s.label for s in fields.settings() if len(s.label) > MARK_AT - 4] == []


@pytest.mark.parametrize(
    ("capability", "dtype", "size"),
    [((7, 5), "auto", 4), ((8, 9), "auto", 2), (None, "auto", 2), ((8, 9), "float16", 4)],
)
def test_adapters_are_as_wide_as_the_card_makes_them(
    capability: tuple[int, int] | None, dtype: str, size: int
) -> None:
    data = {"model": {"id": "tiny", "dtype": dtype}, "dataset": {"path": "/data/rows.jsonl"}}
    card = CardReading(
        0, None, "one", 15.0, 0.0, 15.0, None, None, None, None, None, None, capability
    )
    sensors = SensorReading((card,), MachineReading(None, None, None, 1), None)
    known = known_of(check(Draft("", data)), Survey(()), ModelSeen(), sensors)
    assert known is not None
    assert known.weight_bytes == size


@pytest.mark.parametrize(
    ("path", "sections", "why"),
    [
        ("quantization.threshold", {}, "only for int8"),
        ("quantization.keep", {}, "nothing is quantized"),
        ("quantization.keep", {"quantization": {"scheme": "int8"}}, ""),
        ("lora.plus_ratio", {}, "only for lora+"),
        ("lora.plus_ratio", {"lora": {"variant": "lora+"}}, ""),
        ("evaluation.stop_by", {}, "only with early stopping"),
    ],
)
def test_what_plays_no_part_says_so(path: str, sections: dict[str, Any], why: str) -> None:
    data = {"model": {"id": "tiny"}, "dataset": {"path": "/data/rows.jsonl"}, **sections}
    found = notes(check(Draft("", data)), Survey(())).get(path, Note())
    assert (found.text, found.idle) == ((f"unused: {why}", True) if why else ("", False))


def test_a_name_that_begins_a_problem_stays_as_it_is() -> None:
    assert sentence(Problem("lm_head cannot be one.", "x")) == "lm_head cannot be one."
    assert sentence(Problem("must be a number.", "x", mend="Lower it.")) == (
        "Must be a number. Lower it."
    )


def test_every_explanation_is_of_a_setting_and_the_important_ones_are_whole() -> None:
    known = {setting.path for setting in fields.settings()}
    assert EXPLANATIONS.keys() <= known
    for path in (
        "model.id", "model.dtype", "model.attention", "quantization.scheme",
        "quantization.double_quant", "quantization.compute_dtype", "task", "dataset.loss_on",
        "dataset.eval_share", "lora.r", "lora.alpha", "lora.dropout", "lora.target_modules",
        "lora.bias", "lora.modules_to_save", "lora.variant", "preference.beta", "training.epochs",
        "training.micro_batch", "training.accumulation", "training.learning_rate",
        "training.scheduler", "training.warmup", "training.max_length", "training.packing",
        "training.optimizer", "training.weight_decay", "training.max_grad_norm",
        "training.neftune", "training.gradient_checkpointing", "evaluation.every_steps",
    ):  # fmt: skip
        found = EXPLANATIONS[path]
        assert found.memory, path
        assert found.speed, path
        assert found.quality, path
        assert found.usual, path
