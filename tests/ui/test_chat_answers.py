"""What is done with answers: asked again, carried on, changed, written out, drawn as Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui.chatting import (
    answers,
    chat,
    fake,
    feet,
    kept,
    settled,
    shown,
    talking,
    tuned,
    write,
)
from tests.ui.conftest import keys, notice, until
from tui_lora.core.sampling import Sampling
from tui_lora.core.sampling_set import SamplingSet
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.composer import Composer

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


async def test_an_answer_is_drawn_again_from_the_next_seed(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        chat(app).sampling = SamplingSet("", Sampling(temperature=0.7, seed=7))
        await write(pilot, "Why?")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(why?), 1 from 7"]
        await pilot.press("escape", "r")
        await until(pilot, lambda: answers(app) == ["(why?), 1 from 8"])
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("r")
        await until(pilot, lambda: answers(app) == ["(why?), 1 from 9"])
        # The voice that has not answered yet answers the same message.
        await pilot.press("tab", "r")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "WHY? from 7"
    assert [line.get("seed") for line in kept(tuned)[1:]] == [7, 8, 9, 7]


async def test_a_cut_answer_is_carried_on(root: Path, tuned: SessionPaths, fake: Path) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "long")
        await until(pilot, lambda: settled(app, 1))
        assert "cut at the limit" in feet(app)[0]
        await pilot.press("escape")
        assert "+ go on" in keys(app)
        await pilot.press("plus")
        await until(pilot, lambda: answers(app) == ["(long), 1 and so on"])
        await until(pilot, lambda: settled(app, 1))
        assert feet(app)[0].startswith("5 tokens · 6.00 tok/s")
        assert "+ go on" not in keys(app)
    assert kept(tuned)[-1]["content"] == "(long), 1 and so on"


async def test_an_earlier_message_is_changed_and_what_came_after_it_goes(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        composer = chat(app).query_one(Composer)
        for at, text in enumerate(("One", "Two", "Three")):
            await write(pilot, text)
            await until(pilot, lambda at=at: settled(app, at + 1))
        await pilot.press("escape", "e")
        assert composer.text == "Three"
        await pilot.press("escape", "e")
        assert composer.text == "Two"
        assert "message 2 of 3: Enter sends it anew, and the 1 after it go" in notice(app)
        await pilot.press("escape", "escape")
        assert composer.text == ""
        assert len(chat(app).query(AnswerView)) == 3
        await pilot.press("e", "escape", "e")
        await write(pilot, "Another")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app) == ["(one), 1", "(another), 3"]
        assert "Three" not in shown(app)
    said = [(line["role"], line["content"]) for line in kept(tuned)]
    assert ("user", "Three") in said
    assert said[-3:] == [("cut", ""), ("user", "Another"), ("assistant", "(another), 3")]
    assert kept(tuned)[-3]["keep"] == 1


async def test_a_text_is_carried_on_without_a_template(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "Hello")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape", "c")
        assert "without any template" in notice(app)
        assert "completion" in shown(app)
        await pilot.press("enter")
        await write(pilot, "Once upon a time")
        await until(pilot, lambda: settled(app, 2))
        # It stands alone: nothing of the chat is read.
        assert answers(app)[1] == " ... and plain, 1"
        assert "text  Once upon a time" in shown(app)
        await pilot.press("escape", "c", "enter")
        await write(pilot, "And now?")
        await until(pilot, lambda: settled(app, 3))
        assert answers(app)[2] == "(and now?), 3"


async def test_markdown_is_drawn_and_shown_as_it_was_written(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    text = "# Title\n\nSome **bold** text [link](http://x.y) <b>no</b>\n\n- one\n- two\n"
    (fake / "md").write_text(text + "\n```python\nfor i in range(3): pass\n```\n")
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "md")
        await until(pilot, lambda: settled(app, 1) and "• one" in shown(app))
        assert "Some bold text [link](http://x.y) <b>no</b>" in shown(app)
        assert "```" not in shown(app)
        await pilot.press("escape", "m")
        await until(pilot, lambda: "Some **bold** text" in shown(app) and "```python" in shown(app))
        await pilot.press("m")
        await until(pilot, lambda: "• two" in shown(app))
