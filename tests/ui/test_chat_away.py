"""A chat's model stays while one looks elsewhere; one key puts it away, also while it loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.chatting import (
    answers,
    chat,
    fake,
    settled,
    shown,
    talking,
    tuned,
    with_adapter,
    write,
)
from tests.ui.conftest import keys, notice, page, until
from tui_lora.core.chat import MemoryHeld, Ready
from tui_lora.core.spec import ModelSpec
from tui_lora.store.adapters import session_target
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.chat_facts import LinkState
from tui_lora.ui.chat_holds import before_a_run
from tui_lora.ui.screens.question import Question
from tui_lora.ui.talking import link_row
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.table import Table
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


async def test_elsewhere_it_stays_and_says_so_once(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        link = chat(app).link
        await until(pilot, lambda: link.state.memory)
        pipe = link.pipe
        assert pipe is not None
        await write(pilot, "Before")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape", "3")
        await until(pilot, lambda: "model stays in memory (0.51" in notice(app))
        assert "U in Chat puts it away" in notice(app)
        page(app).hush()
        await pilot.press("6")
        await pilot.press("1")
        await until(pilot, lambda: app.current_mode == "sessions")
        await pilot.pause()
        assert notice(app) == ""
        await pilot.press("6", "i")
        assert pipe.alive
        await write(pilot, "After")
        await until(pilot, lambda: settled(app, 2))
        assert link.pipe is pipe


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_put_away_it_is_gone_and_comes_back_by_one_key(
    root: Path, tuned: SessionPaths, fake: Path, size: tuple[int, int]
) -> None:
    async with talking(root, tuned, size) as (app, pilot):
        link = chat(app).link
        await until(pilot, lambda: link.state.voices)
        pipe = link.pipe
        assert pipe is not None
        await write(pilot, "Hello")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape")
        await until(pilot, lambda: "U puts it away" in shown(app))
        await pilot.press("U")
        assert pipe.process.wait(60) == 0
        assert link.state.phase == "off"
        await until(pilot, lambda: "nothing is loaded   r or ^r loads it again" in shown(app))
        # A message is not lost on nobody.
        await pilot.press("i")
        await write(pilot, "anybody?")
        assert chat(app).query_one(Composer).text == "anybody?"
        assert "nothing is loaded that could answer" in notice(app)
        await pilot.press("ctrl+s")
        assert len(answers(app)) == 1
        await pilot.press("ctrl+r")
        await until(pilot, lambda: link.state.voices, 20)
        await pilot.press("enter")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "(anybody?), 3"


async def test_it_is_put_away_from_the_list_too(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await until(pilot, lambda: chat(app).link.state.voices)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "U puts it away" in shown(app))
        await pilot.press("U")
        assert chat(app).link.state.phase == "off"


@pytest.mark.parametrize("gone", ["put away", "died"])
async def test_whoever_took_part_comes_back_with_the_next_one(
    root: Path, tuned: SessionPaths, fake: Path, gone: str
) -> None:
    other = with_adapter(root, "other")
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        link = chat(app).link
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: link.state.voices)
        (first,) = link.state.voices
        if gone == "died":
            await write(pilot, "die")
            await until(pilot, lambda: link.state.phase == "ended")
        await pilot.press("escape")
        if gone == "put away":
            await pilot.press("U")
        await pilot.press("t")
        await until(pilot, lambda: len(targets.targets) == 3)
        targets.query_one(Table).point(str(other.adapter))
        await pilot.press("enter")
        await until(pilot, lambda: not chat(app).choosing and link.state.voices, 20)
        await until(pilot, lambda: set(link.state.voices) == {first, str(other.adapter)}, 20)
        after = chat(app).conversation.voices.next
        assert after is not None
        assert after.name == str(other.adapter)
        before = len(answers(app))
        await write(pilot, "Hello", "ctrl+s")
        await until(pilot, lambda: settled(app, before + 3))
        said = chat(app).conversation.transcript.exchanges[-1].answers
        assert [answer.problem for answer in said] == ["", "", ""]


async def test_put_away_while_it_answers_what_was_written_stays(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "slow")
        await until(pilot, lambda: answers(app) and "word1" in answers(app)[0])
        chat(app).action_put_away()
        await until(pilot, lambda: not chat(app).conversation.running)
        (exchange,) = chat(app).conversation.transcript.exchanges
        assert exchange.answers[0].text.startswith("word1")
        assert "put away" in exchange.answers[0].problem


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_escape_calls_its_loading_off(
    root: Path, tuned: SessionPaths, fake: Path, size: tuple[int, int]
) -> None:
    (fake / "wait").touch()
    async with talking(root, tuned, size) as (app, pilot):
        link = chat(app).link
        await until(pilot, lambda: "Esc Esc calls it off" in shown(app))
        pipe = link.pipe
        assert pipe is not None
        # The first one leaves the writing, as always.
        await pilot.press("escape")
        assert link.state.phase == "loading"
        await until(pilot, lambda: "Esc call off" in keys(app))
        assert "Esc Esc" not in shown(app)
        await pilot.press("escape")
        assert link.state.phase == "off"
        assert pipe.process.wait(60) == 0
        assert "called off" in notice(app)
        (fake / "wait").unlink()
        await pilot.press("r")
        await until(pilot, lambda: link.state.voices, 20)


async def test_called_off_before_there_is_a_process(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    (fake / "wait").touch()
    async with talking(root, tuned) as (app, pilot):
        link = chat(app).link
        await pilot.press("escape", "escape")
        assert link.state.phase == "off"
        # Its start may have been under way; then it is ended, and never heard of.
        await pilot.pause()
        await pilot.pause()
        assert (link.state.phase, link.pipe) == ("off", None)


READY = Ready(model="m", device="cuda:0", dtype="float16", seconds=1)


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        (MemoryHeld(device="cuda:0", allocated_gib=3, reserved_gib=3.5), "about 3.50 GiB"),
        (None, "takes a part of the card"),
    ],
)
async def test_of_a_chat_whose_size_nobody_knew_a_run_is_asked_too(
    root: Path, tuned: SessionPaths, fake: Path, memory: MemoryHeld | None, says: str
) -> None:
    begun: list[str] = []
    async with talking(root, tuned) as (app, pilot):
        link = chat(app).link
        await until(pilot, lambda: link.state.voices)
        link.state = LinkState("ready", link.state.target, ready=READY, memory=memory)
        before_a_run(page(app), lambda: begun.append("run"))
        await until(pilot, lambda: isinstance(app.screen, Question))
        await until(pilot, lambda: says in " ".join(shown(app).split()))
        assert begun == []
        await pilot.press("y")
        assert begun == ["run"]
        assert link.state.phase == "off"


@pytest.mark.parametrize("width", [78, 118])
@pytest.mark.parametrize("phase", ["ready", "loading"])
def test_the_key_that_ends_it_has_room(tuned: SessionPaths, width: int, phase: str) -> None:
    long = "/a/very/long/path/to/models/that/are/here/smollm2-135m-instruct"
    target = replace(session_target(tuned), model=ModelSpec(id=long))
    memory = MemoryHeld(device="cuda:0", allocated_gib=3, reserved_gib=3.5)
    if phase == "ready":
        state = LinkState("ready", target, ready=READY, memory=memory)
    else:
        label = f"loading the weights of {long}"
        state = LinkState("loading", target, label, 0.0, expect_s=40.0)
    row = link_row(state, width, 5.0, ("U", "puts it away")).plain
    assert "U puts it away" in row
    assert len(row) <= width
    assert "…" in row
