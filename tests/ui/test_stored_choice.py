"""The precision of a base and its device, chosen by keys in the list of whom to talk to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.ui import fake_chat
from tests.ui.chatting import chat, fake, settled, shown, tuned, with_adapter, write
from tests.ui.conftest import until
from tui_lora.core.chat import Ready
from tui_lora.core.spec import ModelSpec
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_link
from tui_lora.ui.app import TuiLora
from tui_lora.ui.stored_choice import PRECISIONS, StoredChoice, precision_of
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


@pytest.fixture
def started(fake: Path, monkeypatch: pytest.MonkeyPatch) -> list[ChatTarget]:
    """What chat workers were started with; the workers are fakes."""
    found: list[ChatTarget] = []

    def start(target: ChatTarget) -> subprocess.Popen[bytes]:
        found.append(target)
        return fake_chat.start_fake_chat(target)

    monkeypatch.setattr(chat_link, "start_chat", start)
    return found


async def listed(app: TuiLora, pilot: Pilot[None]) -> None:
    await until(pilot, lambda: chat(app).query_one(TargetList).targets)


async def loaded(app: TuiLora, pilot: Pilot[None], voices: int) -> None:
    link = chat(app).link
    await until(pilot, lambda: link.state.memory and len(link.state.voices) == voices, 20)
    await until(pilot, lambda: not chat(app).choosing)


def test_each_precision_comes_once_and_then_as_trained_again() -> None:
    choice, one = StoredChoice(), ChatTarget("one", ModelSpec(id="m"))
    seen = []
    for _ in PRECISIONS:
        seen.append(precision_of(choice.of(one)))
        choice.next_precision()
    assert seen == ["", "nf4", "int8", "bfloat16", "float16", "float32"]
    assert choice.of(one) == one
    assert not choice.placed
    choice.next_place()
    assert choice.placed
    assert choice.of(one).devices == "cpu"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_base_is_loaded_as_chosen(
    root: Path, tuned: SessionPaths, started: list[ChatTarget], size: tuple[int, int]
) -> None:
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=size) as pilot:
        await listed(app, pilot)
        await until(pilot, lambda: "as trained" in shown(app))
        await pilot.press("f", "f", "d")
        await until(pilot, lambda: "f precision int8     d device CPU" in shown(app))
        await pilot.press("enter")
        await loaded(app, pilot, 1)
        assert [(t.quantization.scheme, t.devices) for t in started] == [("int8", "cpu")]
        assert "int8, computed in float32" in shown(app)
        # It is still chosen, so that another adapter comes beside this one.
        await pilot.press("ctrl+t", "enter")
        await until(pilot, lambda: not chat(app).choosing)
        assert len(started) == 1


async def test_another_precision_is_another_base(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await listed(app, pilot)
        await pilot.press("enter")
        await loaded(app, pilot, 1)
        await write(pilot, "Hello")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("ctrl+t", *"fffff", "enter")
        await until(pilot, lambda: len(started) == 2, 20)
        await loaded(app, pilot, 1)
        assert (started[1].quantization.scheme, started[1].model.dtype) == ("none", "float32")
        assert settled(app, 0)


async def test_on_another_device_all_of_it_goes_along_and_the_talk_goes_on(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    with_adapter(root, "other")
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await listed(app, pilot)
        await pilot.press("enter")
        await loaded(app, pilot, 1)
        first = chat(app).link.pipe
        assert first is not None
        # As if it were on a card: the fake is on the CPU.
        chat(app).link._now(ready=Ready(model="m", device="cuda:0", dtype="float16", seconds=1))
        await write(pilot, "Hello")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "device cuda:0, where it is" in shown(app))
        # Without a word on where, it stays there.
        await pilot.press("down", "enter")
        await loaded(app, pilot, 2)
        assert len(started) == 1
        await pilot.press("ctrl+t", "d", "enter")
        await until(pilot, lambda: len(started) == 2, 20)
        await loaded(app, pilot, 2)
        assert not first.alive
        assert started[1].devices == "cpu"
        assert settled(app, 1)
        # It is there now, so that nothing is loaded for saying so again.
        await pilot.press("ctrl+t", "enter")
        await until(pilot, lambda: not chat(app).choosing)
        assert len(started) == 2
        # And to the card again.
        await pilot.press("ctrl+t", "d", "enter")
        await until(pilot, lambda: len(started) == 3, 20)
        assert started[2].devices == "auto"
