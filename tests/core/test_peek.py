"""Answers on the way: which belong together, which are of weights that are gone, what changed."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.chat import Chance, Turn
from tui_lora.core.peek import (
    MOST_CHARS,
    PeekAnswer,
    changed_words,
    compared,
    key_of,
    questions,
    shortened,
)
from tui_lora.core.texts import parse_texts, show_texts


def answer(step: int, text: str = "yes", **more: Any) -> PeekAnswer:
    given = {"attempt": 1, "from_step": 0, "key": "k", "source": "spec", "prompt": "Well?"} | more
    return PeekAnswer(t=1.0, step=step, text=text, **given)


def test_answers_stand_with_their_question_and_their_step() -> None:
    found = questions(
        [
            answer(0, "asked at once", key="live", source="asked", order="o"),
            answer(0, "base", base=True),
            answer(0, "a"),
            answer(50, "b", reference="truth"),
            answer(50, "b, and longer"),
        ]
    )
    assert [(one.key, one.source) for one in found] == [("k", "spec"), ("live", "asked")]
    first = found[0]
    assert first.base is not None
    assert (first.base.text, first.reference) == ("base", "truth")
    assert [(one.step, one.text) for one in first.answers] == [(0, "a"), (50, "b, and longer")]
    at_49, at_90 = first.at(49), first.at(90)
    assert at_49 is not None
    assert at_90 is not None
    assert (at_49.step, at_90.step, first.at(-1)) == (0, 50, None)


def test_what_a_later_attempt_forgot_is_left_out() -> None:
    resumed: dict[str, Any] = {"attempt": 2, "from_step": 100}
    asked: dict[str, Any] = {"source": "asked", "key": "live", "order": "o"}
    before = [answer(100, "kept"), answer(150, "gone"), answer(160, "mine", **asked)]
    found = questions([*before, answer(150, "again", **resumed)])
    assert [one.text for one in found[0].answers] == ["kept", "again"]
    assert [one.text for one in found[1].answers] == ["mine"]


def test_the_words_that_are_new_are_marked() -> None:
    pieces = compared("LoRA is a method for tuning", "LoRA is a small method for fine tuning")
    assert "".join(piece.text for piece in pieces) == "LoRA is a small method for fine tuning"
    assert "".join(piece.text for piece in pieces if piece.new).split() == ["small", "fine"]
    assert changed_words(pieces) == 2
    assert changed_words(compared("", "all of it")) == 0
    assert changed_words(compared("a " * 5000, "b " * 5000)) == 0


def test_questions_are_told_apart_by_all_their_turns() -> None:
    user = Turn(role="user", content="Well?")
    assert key_of([user]) == key_of((user,))
    assert key_of([Turn(role="system", content="Be brief."), user]) != key_of([user])


def test_a_long_answer_is_cut_and_an_odd_one_clean() -> None:
    assert shortened("a\x1b[31mb") == "a[31mb"
    cut = shortened("x" * (MOST_CHARS + 1234))
    assert len(cut) < MOST_CHARS + 40
    assert "1,234 more characters" in cut
    odd = answer(1, "\x1b]0;x\x07", chances=(Chance(label="\x9bgood", probability=1.0),))
    assert (odd.text, odd.said) == ("]0;x", "good")


@pytest.mark.parametrize(
    "texts", [("a, b", "c"), ("a | b",), ("[odd",), ("[1]", "two"), ("line\nbreak",), (" edge ",)]
)
def test_texts_can_be_typed_again(texts: tuple[str, ...]) -> None:
    assert parse_texts(show_texts(texts)) == texts


@pytest.mark.parametrize(
    ("turns", "whole"),
    [
        ([("user", "Well?")], True),
        ([("system", "Be kind."), ("user", "Well?")], True),
        ([("user", "Well?"), ("assistant", "Yes."), ("user", "Well?")], False),
        ([("user", "Well?" * MOST_CHARS)], False),
    ],
)
def test_what_is_not_kept_whole_is_told(turns: list[tuple[Any, str]], whole: bool) -> None:
    asked = [Turn(role=role, content=content) for role, content in turns]
    system = asked[0].content if asked[0].role == "system" else ""
    prompt = shortened(asked[-1].content)
    found = questions([answer(1, key=key_of(asked), prompt=prompt, system=system)])
    assert found[0].whole is whole
