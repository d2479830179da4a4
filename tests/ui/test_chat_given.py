"""What an answer was given to, and drawn with: system prompts, seeds, rows of a dataset; seen by
the worker, beside the answer, in rows to be trained on and in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ui.chatting import (
    answers,
    chat,
    deck,
    fake,
    heads,
    kept,
    raw,
    settled,
    shown,
    talking,
    tuned,
    write,
)
from tests.ui.conftest import keys, notice, until
from tui_lora.core.chat import Turn
from tui_lora.core.chat_export import as_rows
from tui_lora.core.sampling import Sampling
from tui_lora.core.sampling_set import SamplingSet
from tui_lora.store.kept_chats import read_chat
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.widgets.composer import Composer

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]

KIND, SHORT = SamplingSet("", system="Be kind"), SamplingSet("", system="Be short")


def drawn(seed: int, temperature: float = 0.7) -> SamplingSet:
    return SamplingSet("", Sampling(temperature=temperature, seed=seed))


def corrections(paths: SessionPaths) -> list[list[str]]:
    lines = paths.corrections.read_text().splitlines()
    return [[turn["content"] for turn in json.loads(line)["messages"]] for line in lines]


# System prompts.


async def test_a_row_has_the_system_prompt_that_the_answer_was_given_under(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        chat(app).sampling = KIND
        await write(pilot, "told me")
        await until(pilot, lambda: settled(app, 1))
        chat(app).sampling = SHORT
        await pilot.press("escape", "r")
        await until(pilot, lambda: raw(app) == ["system: Be short | user: told me"])
        await until(pilot, lambda: settled(app, 1))
        assert heads(app) == ["tuned-run · another system prompt"]
        await pilot.press("k")
        await until(pilot, lambda: "kept as a row" in notice(app))
    given = "system: Be short | user: told me"
    assert corrections(tuned) == [["Be short", "told me", given]]
    (file,) = tuned.chats.glob("*.jsonl")
    (row,) = as_rows(read_chat(file))
    assert [turn["content"] for turn in row["messages"]] == ["Be short", "told me", given]
    # The message itself was asked under the other.
    assert read_chat(file).transcript.exchanges[0].sampling.system == "Be kind"


async def test_a_cut_answer_is_carried_on_under_its_own_system_prompt(
    root: Path, tuned: SessionPaths, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(root, tuned) as (app, pilot):
        chat(app).sampling = KIND
        await write(pilot, "long")
        await until(pilot, lambda: settled(app, 1))
        chat(app).sampling = SHORT
        link = chat(app).link
        really, asked = link.ask, []

        def ask(voice: str, turns: tuple[Turn, ...], *given: Any, **more: Any) -> str:
            asked.append([turn.content for turn in turns])
            return really(voice, turns, *given, **more)

        monkeypatch.setattr(link, "ask", ask)
        await pilot.press("escape", "plus")
        await until(pilot, lambda: raw(app) == ["(long), 2 and so on"] and settled(app, 1))
        assert asked == [["Be kind", "long"]]
        assert heads(app) == ["tuned-run"]
        await pilot.press("k")
        await until(pilot, lambda: "kept as a row" in notice(app))
    assert corrections(tuned)[0][0] == "Be kind"


async def test_only_the_same_settings_give_the_same_answer(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "Why?")
        await until(pilot, lambda: settled(app, 1))
        chat(app).sampling = SHORT
        await pilot.press("escape", "r")
        await until(pilot, lambda: answers(app) == ["(why?), 2"] and settled(app, 1))
        assert "the same answer" not in notice(app)
        await pilot.press("r")
        await until(pilot, lambda: "the same settings give the same answer" in notice(app))


# Seeds and settings.


async def test_a_seed_that_was_set_is_drawn_from_and_counted_on_from(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        chat(app).sampling = drawn(7)
        await write(pilot, "Why?")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape", "r")
        await until(pilot, lambda: answers(app) == ["(why?), 1 from 8"] and settled(app, 1))
        chat(app).sampling = drawn(42)
        for seed in (42, 43):
            await pilot.press("r")
            expected = [f"(why?), 1 from {seed}"]
            await until(pilot, lambda e=expected: answers(app) == e and settled(app, 1))
            assert heads(app) == [f"tuned-run · seed {seed}"]
        # Its own seed, set anew: the same, and not because it is greedy.
        chat(app).sampling = drawn(43)
        await pilot.press("r")
        await until(pilot, lambda: settled(app, 1))
        assert "greedy" not in notice(app)


async def test_who_catches_up_draws_as_those_beside_it(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        chat(app).sampling = drawn(7)
        await write(pilot, "Why?")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape", "r")
        await until(pilot, lambda: answers(app) == ["(why?), 1 from 8"] and settled(app, 1))
        chat(app).sampling = SHORT
        await pilot.press("s")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "WHY? from 8"
        assert heads(app) == ["tuned-run · seed 8", "base · seed 8"]
        assert "drawn as the answer beside it: temperature 0.7, seed 8" in notice(app)
        # One drawn otherwise is marked.
        await pilot.press("r")
        await until(pilot, lambda: answers(app)[0] == "(why?), 2" and settled(app, 2))
        assert heads(app) == ["tuned-run · greedy, another system prompt", "base · seed 8"]
    said = [line for line in kept(tuned) if line["role"] == "assistant"]
    assert [line["seed"] for line in said] == [7, 8, 8, 7]
    (file,) = tuned.chats.glob("*.jsonl")
    one, two = read_chat(file).transcript.exchanges[0].answers
    assert (one.system, one.apart) == ("Be short", "greedy, another system prompt")
    assert (two.system, two.apart) == ("", "seed 8")


async def test_all_alike_are_not_marked(root: Path, tuned: SessionPaths, fake: Path) -> None:
    async with deck(root) as (app, pilot):
        chat(app).sampling = drawn(7)
        await write(pilot, "Why?", "ctrl+s")
        await until(pilot, lambda: settled(app, 2))
        assert heads(app) == ["base", "tuned-run"]


async def test_after_a_stop_string_nothing_is_offered_to_go_on(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "stop here")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape")
        assert "stop string" in shown(app)
        assert "+ go on" not in keys(app)


# Rows of a dataset.


def held_out(paths: SessionPaths, folder: Path, *rows: dict[str, object]) -> None:
    """Let these be the session's held-out rows."""
    file = folder / "held-out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = paths.spec.read_text().replace("eval_path: null", f"eval_path: {file}")
    paths.spec.write_text(text)


def messages(*turns: str) -> dict[str, object]:
    """`system: Be kind` and so on, as a row."""
    said = (turn.split(": ", 1) for turn in turns)
    return {"messages": [{"role": role, "content": content} for role, content in said]}


ROW = ("system: Be exact", "user: One", "assistant: 1", "user: told two", "assistant: 2")


async def test_a_held_out_row_is_asked_as_it_stands_in_the_dataset(
    root: Path, tuned: SessionPaths, fake: Path, tmp_path: Path
) -> None:
    held_out(tuned, tmp_path, messages(*ROW), messages("user: told alone", "assistant: 3"))
    async with talking(root, tuned) as (app, pilot):
        chat(app).sampling = KIND
        await write(pilot, "before")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("escape", "h")
        composer = chat(app).query_one(Composer)
        await until(pilot, lambda: composer.text == "told two")
        await pilot.press("enter")
        await until(pilot, lambda: settled(app, 2))
        given = "system: Be exact | user: One | assistant: 1 | user: told two"
        assert raw(app)[1] == given
        assert "row  its own system prompt and 2 turns stand before it" in shown(app)
        assert "nothing that was said before" in notice(app)
        # What follows goes on from the row.
        await write(pilot, "told three")
        await until(pilot, lambda: settled(app, 3))
        assert raw(app)[2] == f"{given} | assistant: {given} | user: told three"
        # A row without a system prompt is told the one that is set.
        await pilot.press("escape", "h")
        await until(pilot, lambda: composer.text == "told alone")
        await pilot.press("enter")
        await until(pilot, lambda: settled(app, 4))
        assert raw(app)[3] == "system: Be kind | user: told alone"
        # The same words written by hand are a message like any other, but edited they stay a row.
        await pilot.press("escape", "e")
        await write(pilot, "told otherwise")
        await until(pilot, lambda: settled(app, 4) and "otherwise" in raw(app)[3])
        assert raw(app)[3] == "system: Be kind | user: told otherwise"
        assert "reference  3" not in shown(app)
    (file,) = tuned.chats.glob("*.jsonl")
    first, second, third = as_rows(read_chat(file))
    assert [turn["content"] for turn in first["messages"]][:2] == ["Be kind", "before"]
    assert [turn["content"] for turn in second["messages"]] == [
        "Be exact", "One", "1", "told two", given,
        "told three", f"{given} | assistant: {given} | user: told three",
    ]  # fmt: skip
    assert third["messages"][0]["content"] == "Be kind"


async def test_a_message_that_was_not_drawn_is_no_row(
    root: Path, tuned: SessionPaths, fake: Path, tmp_path: Path
) -> None:
    held_out(tuned, tmp_path, messages("user: first", "assistant: 1"), messages(*ROW))
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", "h")
        composer = chat(app).query_one(Composer)
        await until(pilot, lambda: composer.text == "first")
        await write(pilot, "told two")
        await until(pilot, lambda: settled(app, 1))
        assert raw(app) == ["user: told two"]
        assert "reference" not in shown(app)


async def test_the_beginning_of_a_text_is_carried_on_without_a_template(
    root: Path, tuned: SessionPaths, fake: Path, tmp_path: Path
) -> None:
    held_out(tuned, tmp_path, {"text": "Once upon a time there was a rank."})
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", "h")
        await until(pilot, lambda: chat(app).query_one(Composer).text == "Once upon a time")
        await pilot.press("enter")
        await until(pilot, lambda: settled(app, 1))
        assert raw(app) == [" ... and plain, 1"]
        assert "goes on  there was a rank." in shown(app)
        assert not chat(app).completing
