"""Rows: what is given, what is learned, and why a row cannot be used."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_lora.core.house_style import in_house_style
from tui_lora.core.rows import BadRow, RowFormat, as_prompt_completion, detect_format

USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_the_last_turn_is_learned_and_all_before_it_given() -> None:
    row = {"messages": [SYSTEM, USER, ANSWER, USER, ANSWER], "source": "x"}
    assert as_prompt_completion(row, "messages") == ([SYSTEM, USER, ANSWER, USER], [ANSWER])


def test_plain_prompt_and_completion_become_turns() -> None:
    row = {"prompt": "Why?", "completion": "Because."}
    assert as_prompt_completion(row, "prompt_completion") == ([USER], [ANSWER])
    lists = {"prompt": [SYSTEM, USER], "completion": [ANSWER]}
    assert as_prompt_completion(lists, "prompt_completion") == ([SYSTEM, USER], [ANSWER])


@pytest.mark.parametrize(
    ("row", "format", "field", "message"),
    [
        ("text", "messages", "", "not an object"),
        ({}, "messages", "messages", "not a list of turns"),
        ({"messages": []}, "messages", "messages", "not a list of turns"),
        ({"messages": "hello"}, "messages", "messages", "not a list of turns"),
        ({"messages": [USER]}, "messages", "", "nothing to learn"),
        ({"messages": [ANSWER]}, "messages", "", "no turn before"),
        (
            {"messages": [USER, {**ANSWER, "content": "\ud83d"}]},
            "messages",
            "messages[1].content",
            "half a character",
        ),
        ({"prompt": "\ude00", "completion": "x"}, "prompt_completion", "prompt", "half a char"),
        ({"messages": ["hi", ANSWER]}, "messages", "messages[0]", "role and content"),
        (
            {"messages": [{"role": "tool", "content": "x"}, ANSWER]},
            "messages",
            "messages[0].role",
            "'tool'; known are system, user, assistant",
        ),
        (
            {"messages": [{"role": ["user"], "content": "x"}, ANSWER]},
            "messages",
            "messages[0].role",
            "unknown role",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": 5}]},
            "messages",
            "messages[1].content",
            "not text",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": " \n"}]},
            "messages",
            "messages[1].content",
            "is empty",
        ),
        ({"prompt": "", "completion": "x"}, "prompt_completion", "prompt", "is empty"),
        ({"prompt": "x", "completion": " "}, "prompt_completion", "completion", "is empty"),
        ({"prompt": "x"}, "prompt_completion", "completion", "not a list"),
    ],
)
def test_a_row_that_cannot_be_learned_says_why(
    row: Any, format: RowFormat, field: str, message: str
) -> None:
    with pytest.raises(BadRow) as caught:
        as_prompt_completion(row, format)
    assert caught.value.field == field
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("messages"), inner),
    max_leaves=8,
)


@given(row=JSON | st.fixed_dictionaries({"messages": JSON, "prompt": JSON, "completion": JSON}))
def test_any_row_is_learned_or_refused_in_words(row: Any) -> None:
    for format in ("messages", "prompt_completion"):
        with contextlib.suppress(BadRow):
            given_turns, learned = as_prompt_completion(row, format)  # type: ignore[arg-type]
            assert given_turns
            assert learned


def test_formats_are_found_by_most_rows() -> None:
    chat, pair = {"messages": []}, {"prompt": "", "completion": ""}
    assert detect_format([chat, chat, pair])[0] == "messages"
    assert detect_format([chat, pair, pair])[0] == "prompt_completion"
    assert detect_format([chat, "torn", 3])[1] == "1 of the first 3 rows have a messages field"


def test_an_unknown_format_names_the_fields_found() -> None:
    found, why = detect_format([{"text": "x", "la\x1bbel": 1}])
    assert found is None
    assert "label, text" in why
    assert detect_format([])[0] is None
    assert detect_format(["a", 1])[1] == "no row is an object with named fields"


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("Bench note: A fact.\n-> Do this.", True),
        ("  Bench note: A fact.\n\n-> D", True),
        ("Bench note: A fact.", False),
        ("Bench note: \n-> Do.", False),
        ("Well. Bench note: A fact.\n-> Do this.", False),
        ("Bench note: A fact.\nmore\n-> Do this.", False),
        ("", False),
    ],
)
def test_house_style(answer: str, passes: bool) -> None:
    assert in_house_style(answer) is passes
