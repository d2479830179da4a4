"""The Chat screen of a classifier: a text in, labels with their probabilities out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.recorded import LABELS, done_classifier, done_session
from tests.ui import fake_chat
from tests.ui.conftest import keys, notice, picture, until
from tui_lora.core.chat import Chance
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.adapters import session_target
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_link
from tui_lora.ui.app import TuiLora
from tui_lora.ui.chances import SHOWN_CHANCES, chance_rows
from tui_lora.ui.screens.chat import ChatScreen
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fake_chat.GATES, str(tmp_path))
    monkeypatch.setattr(chat_link, "start_chat", fake_chat.start_fake_chat)


@pytest.fixture
def classifier(root: Path) -> SessionPaths:
    return done_classifier(root)


def chat(app: TuiLora) -> ChatScreen:
    shown = app.screen_stack[0]
    assert isinstance(shown, ChatScreen)
    return shown


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


@asynccontextmanager
async def predicting(
    root: Path, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[TuiLora, Pilot[None]]]:
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("enter")
        await until(pilot, lambda: not chat(app).choosing, 20)
        yield app, pilot


async def predict(app: TuiLora, pilot: Pilot[None], text: str) -> None:
    before = len(chat(app).query(AnswerView))
    chat(app).query_one(Composer).value = text
    await pilot.press("enter")
    await until(pilot, lambda: len(chat(app).query(AnswerView)) == before + 1)
    await until(pilot, lambda: not chat(app).conversation.running)
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_text_gets_its_labels_the_likeliest_first(
    root: Path, classifier: SessionPaths, size: tuple[int, int]
) -> None:
    async with predicting(root, size) as (app, pilot):
        assert "predicts  ● done" in shown(app)
        assert "○ base" not in shown(app)
        assert "which label the text has" in shown(app)
        await predict(app, pilot, "it was positive, very positive")
        rows = chat(app).query_one(AnswerView)._text.said.plain.splitlines()
        assert [row.split()[0] for row in rows] == ["positive", "negative", "neutral"]
        assert rows[0].endswith("90.5%")
        await until(pilot, lambda: "5 tokens read · 0.0 s" in shown(app))
        await predict(app, pilot, "neutral")
        assert len(chat(app).query(AnswerView)) == 2
        await pilot.press("escape")
        assert "sampling" not in keys(app)
        assert "h held-out" in keys(app)
        assert all(len(row) <= size[0] for row in picture(app))


async def test_what_was_predicted_is_kept(root: Path, classifier: SessionPaths) -> None:
    async with predicting(root) as (app, pilot):
        await predict(app, pilot, "negative")
    (file,) = classifier.chats.iterdir()
    said = json.loads(file.read_text().splitlines()[1])
    assert said["content"] == "negative"
    assert list(said["chances"]) == ["negative", "neutral", "positive"]


async def test_held_out_rows_come_with_their_true_label(
    root: Path, classifier: SessionPaths, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    texts = [("a positive thing", "positive"), ("this is negative", "neutral")]
    rows.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in texts))
    text = classifier.spec.read_text().replace("eval_path: null", f"eval_path: {rows}")
    classifier.spec.write_text(text)
    async with predicting(root) as (app, pilot):
        composer = chat(app).query_one(Composer)
        await pilot.press("escape", "h")
        await until(pilot, lambda: composer.value == "a positive thing")
        assert "2 texts: held-out file" in notice(app)
        await predict(app, pilot, composer.value)
        await until(pilot, lambda: "✓ the true label" in shown(app))
        assert "true label  positive" in shown(app)
        await pilot.press("escape", "h")
        await until(pilot, lambda: composer.value == "this is negative")
        await predict(app, pilot, composer.value)
        await until(pilot, lambda: "▲ the true label" in shown(app))


async def test_a_classifier_and_an_adapter_of_one_model_share_no_base(
    root: Path, classifier: SessionPaths
) -> None:
    other = done_session(root, "other")
    other.adapter.mkdir()
    (other.adapter / "adapter_model.safetensors").write_bytes(b"x")
    target = session_target(classifier)
    assert target.classifier
    assert target.base != session_target(other).base
    async with predicting(root) as (app, _):
        listed = chat(app).query_one(TargetList).targets
        # Both adapters, and their base alone once.
        assert [one.name for one in listed].count("base alone") == 1
        assert len(listed) == 3


def test_many_labels_are_cut_to_the_likeliest_and_the_true_one() -> None:
    chances = [Chance(label=f"label-{n} [/b]", probability=1 / (n + 2)) for n in range(40)]
    rows = [row.plain for row in chance_rows(chances, "label-37 [/b]")]
    assert len(rows) == SHOWN_CHANCES + 1
    assert rows[-1].startswith("label-37 [/b]")
    assert rows[-1].endswith("▲ the true label, in place 38")
    assert len(chance_rows(chances, "no such label")) == SHOWN_CHANCES


def test_labels_decide_whether_a_folder_predicts(root: Path) -> None:
    paths = done_session(root)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
    assert not session_target(paths).classifier
    write_labels(paths.adapter, LABELS)
    assert session_target(paths).classifier
