"""Blind: nothing on the screen tells who is who before the vote, and the vote is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.ui.chatting import (
    answers,
    chat,
    deck,
    fake,
    feet,
    heads,
    settled,
    shown,
    tuned,
    with_checkpoint,
    write,
)
from tests.ui.conftest import keys, notice, picture, until
from tui_lora.core.votes import Score, Vote, scores
from tui_lora.store.paths import SessionPaths
from tui_lora.store.votes import keep_vote, read_votes
from tui_lora.ui.app import TuiLora
from tui_lora.ui.blind import Blind
from tui_lora.ui.widgets.answer import AnswerView

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


class Backwards:
    """Shuffles so that one can foresee it."""

    def shuffle(self, what: list[object]) -> None:
        what.reverse()


@asynccontextmanager
async def blind(
    root: Path, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[TuiLora, Pilot[None]]]:
    """The base and two checkpoints, blind, ready for a message; answered backwards."""
    async with deck(root, size) as (app, pilot):
        chat(app).blind = Blind(Backwards())  # type: ignore[arg-type]
        await pilot.press("escape", "B", "enter")
        yield app, pilot


def below_voices(app: TuiLora) -> str:
    """All of the screen but the row of who takes part."""
    return "\n".join(picture(app)[3:])


async def test_nobody_is_named_before_the_vote_and_everybody_after_it(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    with_checkpoint(tuned, 400)
    async with blind(root) as (app, pilot):
        assert "a message to everybody" in shown(app)
        await write(pilot, "Who Are You?")
        await until(pilot, lambda: settled(app, 3))
        assert heads(app) == ["A", "B", "C"]
        assert feet(app) == ["", "", ""]
        assert answers(app) == ["(who are you?), 1", "(who are you?), 1", "WHO ARE YOU?"]
        for word in ("tuned-run", "base", "step", "tok/s", "tokens ·"):
            assert word not in below_voices(app).replace("256 tokens", "")
        # No colour of a head is another's.
        looks = {str(view._head.said.spans) for view in chat(app).query(AnswerView)}
        assert len(looks) == 1
        # What would tell one from another is not offered.
        for word in ("switch", "again", "unload"):
            assert word not in keys(app)
        await until(pilot, lambda: "a A   b B   c C   = a tie" in shown(app))
        await pilot.press("c")
        await until(pilot, lambda: "C   base   ✓ your vote" in shown(app))
        assert heads(app)[:2] == ["A   tuned-run at step 400", "B   tuned-run"]
        assert "tok/s" in feet(app)[0]
        assert "base 1-0-0 of 1   tuned-run 0-0-1 of 1" in shown(app)
        await until(pilot, lambda: read_votes([tuned]))
    (vote,) = read_votes([tuned])
    assert vote.won == "base tiny"
    assert vote.among == ("tuned-run at step 400", "tuned-run", "base tiny")


async def test_texts_come_all_at_once_and_a_tie_is_no_loss(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with blind(root) as (app, pilot):
        await write(pilot, "slow")
        running = chat(app).conversation.transcript
        await until(pilot, lambda: running.exchanges and running.exchanges[0].answers[0].tokens > 3)
        # The first is being written, the second waits: they look alike.
        assert feet(app) == ["◌ shown once all are written"] * 2
        assert answers(app) == ["", ""]
        assert "word1" not in shown(app)
        await pilot.press("equals_sign")
        assert not read_votes([tuned])
        await pilot.press("escape")
        await until(pilot, lambda: "fewer than two have answered" in notice(app))
        assert heads(app) == ["A   tuned-run", "B   base"]
        await pilot.press("enter")
        await write(pilot, "next")
        await until(pilot, lambda: settled(app, 4) and "= a tie" in shown(app))
        await pilot.press("equals_sign")
        await until(pilot, lambda: "base 0-1-0 of 1" in shown(app))
        await until(pilot, lambda: read_votes([tuned]))
    assert read_votes([tuned])[0].won is None


async def test_what_was_not_voted_on_is_told_and_does_not_count(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    keep_vote([tuned], Vote("before", ("tuned-run", "base tiny"), "tuned-run"))
    async with blind(root, (80, 24)) as (app, pilot):
        await until(pilot, lambda: "tuned-run 1-0-0 of 1" in shown(app))
        await write(pilot, "One")
        await until(pilot, lambda: settled(app, 2) and chat(app).blind.letters == "AB")
        await pilot.press("enter")
        await write(pilot, "Two")
        await until(pilot, lambda: settled(app, 4))
        assert heads(app) == ["A   tuned-run", "B   base", "A", "B"]
        await pilot.press("B")
        assert heads(app)[2:] == ["A   tuned-run", "B   base"]
        assert "everybody is named again" in notice(app)
    assert len(read_votes([tuned])) == 1


async def test_a_new_conversation_leaves_no_vote_behind(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with blind(root) as (app, pilot):
        await write(pilot, "One")
        await until(pilot, lambda: settled(app, 2) and chat(app).blind.letters == "AB")
        await pilot.press("n")
        assert not chat(app).blind.hiding
        assert not chat(app).query(AnswerView)
        await write(pilot, "Two")
        await until(pilot, lambda: settled(app, 2) and heads(app) == ["A", "B"])
    assert not read_votes([tuned])


async def test_an_error_that_names_its_voice_waits_for_the_vote(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with blind(root) as (app, pilot):
        await write(pilot, "die")
        await until(pilot, lambda: chat(app).link.state.phase == "ended")
        await until(pilot, lambda: not chat(app).blind.hiding)
        assert all("exit code 3" in foot for foot in feet(app))


async def test_who_gave_no_answer_is_not_voted_on(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    with_checkpoint(tuned, 400)
    async with blind(root) as (app, pilot):
        await write(pilot, "no memory for step-000400")
        await until(pilot, lambda: settled(app, 3) and chat(app).blind.letters == "BC")
        assert feet(app) == ["✗ no answer", "", ""]
        assert "b B   c C   = a tie" in shown(app)
        assert "a A" not in shown(app)
        await pilot.press("a")
        assert chat(app).blind.hiding
        await pilot.press("c")
        await until(pilot, lambda: "C   base   ✓ your vote" in shown(app))
        assert "tuned-run at step 400 0-0-0 of 0" in shown(app)
        await until(pilot, lambda: read_votes([tuned]))
    (vote,) = read_votes([tuned])
    assert vote.among == ("tuned-run", "base tiny")


def test_scores_count_each_vote_once() -> None:
    votes = [
        Vote("1", ("a", "b", "c"), "a"),
        Vote("1", ("a", "b", "c"), "a"),
        Vote("2", ("a", "b"), None),
        Vote("3", ("b", "a"), "b"),
    ]
    assert scores(votes) == {"a": Score(1, 1, 1), "b": Score(1, 1, 1), "c": Score(0, 0, 1)}
    assert scores(votes)["a"].votes == 3
