"""Rows: turns, texts, tool calls and labels out of what people have; why one cannot be used."""

import json
from typing import Any

import pytest

from tui_lora.core.house_style import in_house_style
from tui_lora.core.rows import BadRow, label_of, split_last, text_of, tools_of, turns_of, verdict_of

USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def test_turns_of_openai_and_of_sharegpt_are_the_same() -> None:
    theirs = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Why?"},
        {"from": "gpt", "value": "Because."},
    ]
    assert turns_of(theirs, "conversations") == turns_of([SYSTEM, USER, ANSWER], "messages")


def test_a_tool_call_keeps_its_arguments_and_may_say_nothing() -> None:
    asked = {**CALL, "function": {"name": "add", "arguments": json.dumps({"a": 1})}}
    turns = turns_of(
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "name": "add", "content": "1"},
            ANSWER,
        ],
        "messages",
    )
    assert turns[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert turns[2] == {"role": "tool", "content": "1", "name": "add"}


def test_sharegpt_writes_a_call_as_a_turn() -> None:
    called = {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'}
    turns = turns_of([{"from": "human", "value": "?"}, called], "conversations")
    assert turns[1]["tool_calls"] == [CALL]
    twice = {"from": "function_call", "value": f"[{called['value']}, {called['value']}]"}
    turns = turns_of([{"from": "human", "value": "?"}, twice], "conversations")
    assert turns[1]["tool_calls"] == [CALL, CALL]


def test_content_in_parts_is_put_together() -> None:
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    assert turns_of([{"role": "user", "content": parts}], "messages") == [USER]


def calls(arguments: Any) -> dict[str, Any]:
    return {**ANSWER, "tool_calls": [{"function": {"name": "add", "arguments": arguments}}]}


def tool(name: str) -> dict[str, Any]:
    return {"role": "tool", "name": name, "content": "1"}


@pytest.mark.parametrize(
    ("turns", "field", "message"),
    [
        (None, "m", "not a list of turns"),
        ([], "m", "not a list of turns"),
        ("hello", "m", "not a list of turns"),
        (["hi", ANSWER], "m[0]", "role and content"),
        ([{"role": "wizard", "content": "x"}], "m[0].role", "unknown role 'wizard'"),
        ([{"role": ["user"], "content": "x"}], "m[0].role", "unknown role"),
        ([USER, {**ANSWER, "content": 5}], "m[1].content", "is a number, not text"),
        ([USER, {**ANSWER, "content": None}], "m[1].content", "is null"),
        ([USER, {**ANSWER, "content": " \n"}], "m[1].content", "is empty"),
        ([USER, {**ANSWER, "content": "\ud83d"}], "m[1].content", "half a character"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "m[0].content[0]", "only text"),
        ([USER, SYSTEM, ANSWER], "m[1].role", "must be the first"),
        ([USER, USER, ANSWER], "m[1].role", "two user turns in a row"),
        ([USER, ANSWER, ANSWER], "m[2].role", "two assistant turns in a row"),
        ([{"role": "tool", "content": "1"}], "m[0].role", "a tool turn without"),
        ([{**USER, "tool_calls": [CALL]}], "m[0].tool_calls", "are for assistant turns"),
        ([USER, {**ANSWER, "tool_calls": [{}]}], "m[1].tool_calls[0]", "no function name"),
        ([USER, calls({"a": "\ud83d"})], "m[1].tool_calls[0]", "half a character"),
        ([USER, calls({"a": b"x"})], "m[1].tool_calls[0]", "cannot be written as JSON"),
        ([USER, calls({"a": 1}), tool("\ud83d")], "m[2].name", "half a character"),
    ],
)
def test_turns_that_cannot_be_say_where(turns: Any, field: str, message: str) -> None:
    with pytest.raises(BadRow) as caught:
        turns_of(turns, "m")
    assert caught.value.field == field
    assert message in str(caught.value)


def test_the_last_turn_must_be_the_assistants() -> None:
    assert split_last(turns_of([USER, ANSWER], "m"), "m") == ([USER], [ANSWER])
    with pytest.raises(BadRow, match="nothing to learn"):
        split_last(turns_of([USER], "m"), "m")
    with pytest.raises(BadRow, match="no turn before"):
        split_last(turns_of([ANSWER], "m"), "m")


def test_tools_are_json_however_they_are_written() -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    assert tools_of(tools, "tools") == tools_of(json.dumps(tools), "tools") == json.dumps(tools)
    assert tools_of(None, "tools") is tools_of([], "tools") is None
    half = [{"name": "\ud83d"}]
    for bad, why in (
        ("{", "no JSON"),
        ({"a": 1}, "not a list"),
        (["x"], "not an object"),
        (half, "half a character"),
        (json.dumps(half), "half a character"),
    ):
        with pytest.raises(BadRow, match=why):
            tools_of(bad, "tools")


def test_labels_are_words_numbers_or_yes_and_no() -> None:
    assert [label_of(v, "l") for v in ("pos ", 3, 2.0, True)] == ["pos", "3", "2", "true"]
    for bad in (None, "", [1], float("nan")):
        with pytest.raises(BadRow):
            label_of(bad, "l")


def test_an_answer_is_marked_good_or_bad() -> None:
    assert [verdict_of(v, "l") for v in (True, 1, "true", " Good")] == [True] * 4
    assert [verdict_of(v, "l") for v in (False, 0, "no", -1)] == [False] * 4
    with pytest.raises(BadRow, match="neither good nor bad"):
        verdict_of("perhaps", "l")


def test_text_is_text() -> None:
    assert text_of(" x ", "t") == " x "
    with pytest.raises(BadRow, match="is an object, not text"):
        text_of({}, "t")


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
