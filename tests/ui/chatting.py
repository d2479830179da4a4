"""What tests of the Chat screen share: a fake worker, sessions with adapters, and ways to type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.recorded import make_session
from tests.ui import fake_chat
from tests.ui.conftest import picture, until
from tui_lora.store.checkpoints import seal
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_link
from tui_lora.ui.app import TuiLora
from tui_lora.ui.screens.chat import ChatScreen
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.target_list import TargetList


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake worker; a file `wait` in the folder keeps it loading."""
    gates = tmp_path / "gates"
    gates.mkdir()
    monkeypatch.setenv(fake_chat.GATES, str(gates))
    monkeypatch.setattr(chat_link, "start_chat", fake_chat.start_fake_chat)
    return gates


def with_adapter(root: Path, name: str) -> SessionPaths:
    paths = make_session(root, name)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    return paths


@pytest.fixture
def tuned(root: Path) -> SessionPaths:
    return with_adapter(root, "tuned-run")


def chat(app: TuiLora) -> ChatScreen:
    shown = app.screen_stack[0]
    assert isinstance(shown, ChatScreen)
    return shown


@asynccontextmanager
async def talking(
    root: Path, session: SessionPaths | None, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[TuiLora, Pilot[None]]]:
    """The Chat screen with the first row of the list chosen."""
    app = TuiLora(root, session=session, start="chat", live=False)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("enter")
        await until(pilot, lambda: not chat(app).choosing, 20)
        yield app, pilot


async def write(pilot: Pilot[None], text: str, key: str = "enter") -> None:
    pilot.app.screen.query_one(Composer).value = text
    await pilot.press(key)


def answers(app: TuiLora) -> list[str]:
    return [view._text.said.plain for view in chat(app).query(AnswerView)]


def raw(app: TuiLora) -> list[str]:
    """The answers as they came, line breaks around them included."""
    exchanges = chat(app).conversation.transcript.exchanges
    return [answer.text for exchange in exchanges for answer in exchange.answers]


def settled(app: TuiLora, count: int) -> bool:
    shown = chat(app).query(AnswerView)
    return len(shown) == count and not chat(app).conversation.running


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


def kept(paths: SessionPaths) -> list[dict[str, object]]:
    files = sorted(paths.chats.iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def with_checkpoint(paths: SessionPaths, step: int) -> Path:
    """A checkpoint whose adapter the fake worker takes."""
    beside = paths.checkpoints / ".new"
    beside.mkdir(parents=True)
    (beside / "adapter_model.safetensors").write_bytes(b"x" * 500)
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/tiny"}
    (beside / "adapter_config.json").write_text(json.dumps(config))
    folder = paths.checkpoints / f"step-{step:06d}"
    seal(beside, folder, step=step, tokens_seen=1)
    return folder


def heads(app: TuiLora) -> list[str]:
    """Who gives each answer, as it stands above them."""
    return [view._head.said.plain for view in chat(app).query(AnswerView)]


def feet(app: TuiLora) -> list[str]:
    return [view._foot.said.plain for view in chat(app).query(AnswerView)]


@asynccontextmanager
async def deck(
    root: Path, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[TuiLora, Pilot[None]]]:
    """Every row of the list but the base marked and loaded; keys go to the screen."""
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=size) as pilot:
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: targets.targets)
        await pilot.press(*["space"] * (len(targets.targets) - 1), "enter")
        await until(pilot, lambda: chat(app).link.state.memory and not chat(app).choosing, 20)
        voices = len(targets.targets) - 1
        await until(pilot, lambda: len(chat(app).link.state.voices) == voices, 20)
        yield app, pilot
