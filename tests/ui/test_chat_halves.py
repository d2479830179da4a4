"""What was written of an answer is kept, however the conversation ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.ui.chatting import answers, chat, fake, feet, kept, settled, talking, tuned, write
from tests.ui.conftest import until
from tui_lora.core.kept_chat import KeptChat
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.kept_chats import read_chat
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]

End = Callable[[TuiLora, "Pilot[None]"], Awaitable[None]]


async def new(app: TuiLora, pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+n")


async def another_base(app: TuiLora, pilot: Pilot[None]) -> None:
    shown = chat(app)
    assert shown.conversation.target is not None
    spec = shown.conversation.target.model.model_copy(update={"id": "another"})
    shown.opened(ChatTarget("another", spec))


async def reopened(app: TuiLora, pilot: Pilot[None]) -> None:
    chat(app).reopen(Path("/nowhere/else.jsonl"), KeptChat())


async def quit_now(app: TuiLora, pilot: Pilot[None]) -> None:
    app.exit()


@pytest.mark.parametrize("end", [new, another_base, reopened, quit_now])
async def test_half_an_answer_stays_in_the_file(
    root: Path, tuned: SessionPaths, fake: Path, end: End
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "slow")
        await until(pilot, lambda: answers(app) and "word3" in answers(app)[0])
        await end(app, pilot)
        await pilot.pause()
    said = kept(tuned)
    assert [line["role"] for line in said] == ["user", "assistant"]
    assert str(said[1]["content"]).startswith("word1 word2 word3")
    assert said[1]["ended_by"] == "cancel"
    (file,) = tuned.chats.glob("*.jsonl")
    assert read_chat(file).transcript.exchanges[0].answers[0].cut


async def test_what_was_stopped_is_kept_once(root: Path, tuned: SessionPaths, fake: Path) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "slow")
        await until(pilot, lambda: answers(app) and "word3" in answers(app)[0])
        await pilot.press("escape")
        await until(pilot, lambda: settled(app, 1) and len(kept(tuned)) == 2)
        await pilot.press("escape", "n")
        await pilot.pause()
    assert [line["role"] for line in kept(tuned)] == ["user", "assistant"]


async def test_a_reopened_answer_that_was_carried_on_has_its_speed(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "long")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape", "plus")
        await until(pilot, lambda: settled(app, 1) and "6.00 tok/s" in feet(app)[0])
        await pilot.press("n")
        (file,) = tuned.chats.glob("*.jsonl")
        chat(app).reopen(file, read_chat(file))
        await until(pilot, lambda: feet(app) == ["5 tokens · 6.00 tok/s"])
