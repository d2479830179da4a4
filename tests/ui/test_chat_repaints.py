"""A growing answer is painted four times a second at most, however fast its pieces come. Counted,
on a clock that goes on with each piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui.chatting import chat, fake, settled, talking, tuned, write
from tests.ui.conftest import until
from tui_lora.core.chat import AnswerEnded, AnswerGrew, FromChat
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_facts
from tui_lora.ui.chat_facts import Growing
from tui_lora.ui.widgets.answer import AnswerView

__all__ = ["fake", "tuned"]

PIECES_A_SECOND = 32
REPAINTS_A_SECOND = 4


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the module `time`, where pieces are gathered."""

    class Clock:
        def __init__(self) -> None:
            self.now = 100.0

        def monotonic(self) -> float:
            self.now += 1 / PIECES_A_SECOND
            return self.now

    monkeypatch.setattr(chat_facts, "time", Clock())


def handed_on(growing: Growing, id: str, pieces: int) -> list[FromChat]:
    told = [growing.due(AnswerGrew(id=id, text="ab", tokens=at)) for at in range(1, pieces + 1)]
    return [message for message in told if message is not None]


def test_of_ten_seconds_forty_are_handed_on_with_the_whole_text() -> None:
    growing = Growing()
    for id in ("first", "second"):
        told = handed_on(growing, id, 10 * PIECES_A_SECOND)
        assert len(told) == 10 * REPAINTS_A_SECOND
        for message in told:
            assert isinstance(message, AnswerGrew)
            assert message.text == "ab" * message.tokens
        ended = AnswerEnded(
            id=id,
            name="base",
            text="",
            tokens=1,
            prompt_tokens=1,
            first_token_s=None,
            seconds=1.0,
            ended_by="end",
        )
        assert growing.due(ended) is ended


@pytest.mark.screens
async def test_the_screen_is_painted_no_more_often(
    root: Path, fake: Path, tuned: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[int] = []
    draw = AnswerView.draw

    def counted(view: AnswerView) -> None:
        if view.answer.running and view.answer.tokens:
            painted.append(view.answer.tokens)
        draw(view)

    monkeypatch.setattr(AnswerView, "draw", counted)
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "slow")
        await until(pilot, lambda: painted and painted[-1] > 4 * PIECES_A_SECOND, 60)
        await pilot.press("escape")
        await until(pilot, lambda: settled(app, 1), 60)
        (answer,) = chat(app).conversation.transcript.exchanges[0].answers
    seconds = answer.tokens / PIECES_A_SECOND
    # The first piece is painted at once, and again where it came before its place was there.
    assert len(painted) <= 2 + REPAINTS_A_SECOND * seconds
