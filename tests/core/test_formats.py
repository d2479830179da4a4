"""Every format: recognized by looking, overridden by the user, and what a row of it becomes."""

import contextlib
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_lora.core.columns import fill, parse_columns, parse_mixed, show_columns
from tui_lora.core.examples import example
from tui_lora.core.fields import setting_at
from tui_lora.core.formats import FORMAT_NAMES, FORMATS, FormatName, Task, decide, shape_of
from tui_lora.core.rows import BadRow


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED, ANSWERED = [said("user", "Why?")], [said("assistant", "Because.")]
CHAT = {"prompt": ASKED, "completion": ANSWERED}
HH = "\n\nHuman: Why?\n\nAssistant: "

# format -> a row of it, the task, what it becomes
CASES: dict[str, tuple[dict[str, Any], Task, dict[str, Any]]] = {
    "messages": ({"messages": ASKED + ANSWERED, "source": "x"}, "sft", CHAT),
    "sharegpt": (
        {
            "id": 7,
            "conversations": [
                {"from": "human", "value": "Why?"},
                {"from": "gpt", "value": "Because."},
            ],
        },
        "sft",
        CHAT,
    ),
    "alpaca": (
        {"instruction": "Why?", "input": "The sky.", "output": "Because."},
        "sft",
        {"prompt": [said("user", "Why?\n\nThe sky.")], "completion": ANSWERED},
    ),
    "prompt_completion": ({"prompt": "Why?", "completion": "Because."}, "sft", CHAT),
    "pairs": ({"instruction": "Why?", "response": "Because.", "score": 3}, "sft", CHAT),
    "gsm8k": (
        {"question": "2+2?", "answer": "<<2+2=4>>\n#### 4"},
        "sft",
        {
            "prompt": [said("user", "2+2?")],
            "completion": [said("assistant", "<<2+2=4>>\n#### 4")],
        },
    ),
    "guanaco": ({"text": "### Human: Why?### Assistant: Because."}, "sft", CHAT),
    "text": ({"text": "Once upon a time.", "url": 4}, "sft", {"text": "Once upon a time."}),
    "preference": (
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        "dpo",
        {"prompt": ASKED, "chosen": ANSWERED, "rejected": [said("assistant", "No.")]},
    ),
    "kto": (
        {"prompt": "Why?", "completion": "Because.", "label": True},
        "kto",
        {**CHAT, "label": True},
    ),
    "classification": (
        {"sentence": "Fine film.", "label": 1, "idx": 0},
        "classification",
        {"text": "Fine film.", "label": "1"},
    ),
}


def test_every_format_has_its_case_and_is_a_choice_of_the_spec() -> None:
    assert set(CASES) == set(FORMAT_NAMES) == set(get_args(FormatName))
    choices = set(setting_at("dataset.format").choices) - {"auto"}
    assert choices == set(FORMAT_NAMES)
    assert set(setting_at("task").choices) == set(get_args(Task))


@pytest.mark.parametrize("name", CASES)
def test_a_format_is_found_by_looking_and_taken_when_named(name: str) -> None:
    row, task, becomes = CASES[name]
    for format in ("auto", name):
        reading, reason = decide([row], task=task, format=format)
        assert reading is not None, reason
        assert reading.format == name
        assert example(row, reading) == becomes
    assert reason == "as you said"


@pytest.mark.parametrize("name", CASES)
def test_no_format_is_taken_for_a_task_that_it_cannot_teach(name: str) -> None:
    row, task, _ = CASES[name]
    able = next(f.tasks for f in FORMATS if f.name == name)
    for other in get_args(Task):
        reading, reason = decide([row], task=other, format=name)
        assert (reading is not None) == (other in able)
        assert reading is not None or f"set task to {task}" in reason or "no column" in reason


SAYS = {"instruction": "Why?", "response": "Because."}
ASKS = {"question": "Why?", "answer": "Because."}
ABOUT = {"prompt": [said("user", "Why?\n\nThe sky.")], "completion": ANSWERED}
RHYMED = {"prompt": [said("system", "Rhyme."), *ASKED], "completion": ANSWERED}
OPEN_ORCA = {"question": "Why?", "response": "Because."}
INTEL = {"question": "Why?", "chosen": "Because.", "rejected": "No."}


@pytest.mark.parametrize(
    ("first", "row", "becomes"),
    [
        ({**SAYS, "context": ""}, {**SAYS, "context": "The sky."}, ABOUT),
        (ASKS, {**ASKS, "context": "The sky."}, ABOUT),
        (SAYS, {**SAYS, "context": {"page": 3}}, CHAT),
        ({**OPEN_ORCA, "system_prompt": ""}, {**OPEN_ORCA, "system_prompt": "Rhyme."}, RHYMED),
        ({**INTEL, "system": ""}, {**INTEL, "system": "Rhyme."}, RHYMED),
        (CASES["messages"][0], {**CASES["messages"][0], "system": "Rhyme."}, RHYMED),
        ({"article": "x", "highlights": "y"}, {"article": "Why?", "highlights": "Because."}, CHAT),
    ],
)
def test_what_only_some_rows_have_is_read_too(
    first: dict[str, Any], row: dict[str, Any], becomes: dict[str, Any]
) -> None:
    reading, reason = decide([first, row])
    assert reading is not None, reason
    assert example(row, reading) == becomes
    example(first, reading)


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Because.", "role": "assistant", "parent_id": "a1", "message_id": "a2"},
        {"passage": "The sky is blue.", "question": "Is it?", "answer": True},
        {"document": "The sky is blue.", "question": "Is it?", "answer": True},
    ],
)
def test_a_part_of_a_row_is_not_taken_for_all_of_it(row: dict[str, Any]) -> None:
    assert decide([row])[0] is None


def test_the_format_of_most_rows_wins_and_the_reason_counts_them() -> None:
    chat, pair = CASES["messages"][0], CASES["prompt_completion"][0]
    reading, reason = decide([chat, pair, pair, "torn"])
    assert reading is not None
    assert reading.format == "prompt_completion"
    assert reason == "2 of the first 4 rows have prompt and completion fields"


def test_columns_of_any_names_are_mapped() -> None:
    row = {"frage": "Why?", "antwort": "Because.", "kontext": "The sky."}
    reading, reason = decide([row], columns={"prompt": "frage", "completion": "antwort"})
    assert reading is not None
    assert reading.format == "pairs"
    assert reason == "your columns: prompt=frage, completion=antwort"
    assert example(row, reading) == CHAT


def test_a_template_over_columns_is_filled() -> None:
    columns = parse_columns(r"prompt={frage}\n{kontext}, really?, completion=antwort")
    row = {"frage": "Why?", "antwort": "Because.", "kontext": None}
    reading, _ = decide([row], columns=columns)
    assert reading is not None
    assert example(row, reading)["prompt"] == [said("user", "Why?\n, really?")]
    with pytest.raises(BadRow, match="no column 'kontext'"):
        example({"frage": "Why?", "antwort": "x"}, reading)


def test_unknown_columns_are_named_without_their_escapes() -> None:
    reading, why = decide([{"xyz": 1, "la\x1bbel": 1}])
    assert reading is None
    assert "label, xyz" in why
    assert "dataset.columns" in why
    assert decide([]) == decide(["a", 1]) == (None, "no row is an object with named fields")


def test_extra_columns_never_hurt() -> None:
    asked = {"question": "Why?", "answer": "Because.", "topic": "sky", "label": "easy", "n": 3}
    reading, _ = decide([asked])
    assert reading is not None
    assert reading.format == "pairs"
    assert example(asked, reading) == CHAT
    page = {"text": "Once.", "title": "A tale", "category": "prose"}
    reading, _ = decide([page])
    assert reading is not None
    assert reading.format == "text"
    reading, _ = decide([page], task="classification")
    assert reading is not None
    assert example(page, reading) == {"text": "Once.", "label": "prose"}


def test_a_document_that_speaks_of_marks_is_no_conversation() -> None:
    page = {"text": "Guanaco writes `### Human: …` and `### Assistant: …`.", "file": "a.md"}
    reading, _ = decide([page])
    assert reading is not None
    assert reading.format == "text"


def test_a_system_prompt_is_put_where_there_is_none() -> None:
    row = CASES["prompt_completion"][0]
    reading, _ = decide([row], system="Be brief.")
    assert reading is not None
    assert example(row, reading)["prompt"][0] == said("system", "Be brief.")
    own = {"messages": [said("system", "Sing."), *ASKED, *ANSWERED]}
    reading, _ = decide([own], system="Be brief.")
    assert reading is not None
    assert example(own, reading)["prompt"][0] == said("system", "Sing.")
    beside = {**CASES["sharegpt"][0], "system": "Rhyme."}
    reading, _ = decide([beside])
    assert reading is not None
    assert example(beside, reading)["prompt"][0] == said("system", "Rhyme.")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": ASKED + ANSWERED, "rejected": [*ASKED, said("assistant", "No.")]},
        {"chosen": HH + "Because.", "rejected": HH + "No."},
        {
            "prompt": "Why?",
            "chosen": ASKED + ANSWERED,
            "rejected": [*ASKED, said("assistant", "No.")],
        },
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "Because."},
            "rejected": {"from": "gpt", "value": "No."},
        },
        {
            "messages": ASKED + ANSWERED,
            "chosen": ASKED + ANSWERED,
            "rejected": [*ASKED, said("assistant", "No.")],
        },
    ],
)
def test_pairs_may_carry_the_prompt_in_both_answers(row: dict[str, Any]) -> None:
    reading, reason = decide([row], task="dpo")
    assert reading is not None, reason
    assert example(row, reading) == CASES["preference"][2]


def test_the_chosen_answers_can_be_learned_alone() -> None:
    row = CASES["preference"][0]
    reading, _ = decide([row], task="sft", format="preference")
    assert reading is not None
    assert example(row, reading) == CHAT


@pytest.mark.parametrize("names", [("premise", "hypothesis"), ("question", "sentence")])
def test_two_texts_are_told_apart_by_their_columns(names: tuple[str, str]) -> None:
    row = {names[0]: "A cat sleeps.", names[1]: "It rests.", "label": "yes"}
    reading, _ = decide([row], task="classification")
    assert reading is not None
    assert example(row, reading)["text"] == f"{names[0]}: A cat sleeps.\n{names[1]}: It rests."


def test_a_tool_conversation_keeps_its_tools() -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    row = {"messages": ASKED + ANSWERED, "tools": tools}
    reading, _ = decide([row])
    assert reading is not None
    assert json.loads(example(row, reading)["tools"]) == tools


@pytest.mark.parametrize(
    ("format", "row", "task", "field", "message"),
    [
        ("messages", "text", "sft", "", "not an object"),
        ("messages", {"messages": ASKED}, "sft", "messages", "nothing to learn"),
        ("alpaca", {"instruction": "", "output": "x"}, "sft", "instruction", "is empty"),
        ("alpaca", {"instruction": "x", "output": 5}, "sft", "output", "is a number"),
        ("alpaca", {"instruction": "x", "input": 5, "output": "y"}, "sft", "input", "a number"),
        ("alpaca", {"instruction": "x"}, "sft", "output", "is missing"),
        ("pairs", {"question": "x", "answer": None}, "sft", "answer", "is null"),
        ("guanaco", {"text": "### Human: x"}, "sft", "text", "nothing to learn"),
        ("guanaco", {"text": "Hello"}, "sft", "text", "no turns marked"),
        ("text", {"text": " "}, "sft", "text", "is empty"),
        ("kto", {"prompt": "x", "completion": "y", "label": 7}, "kto", "label", "neither good"),
        ("classification", {"sentence": "x", "label": None}, "classification", "label", "is null"),
        (
            "preference",
            {"prompt": "x", "chosen": "y", "rejected": "y"},
            "dpo",
            "rejected",
            "the same as the chosen",
        ),
        ("preference", {"chosen": "a", "rejected": "b"}, "dpo", "prompt", "share no beginning"),
    ],
)
def test_a_row_that_cannot_be_learned_says_why(
    format: str, row: Any, task: Task, field: str, message: str
) -> None:
    good = CASES[format][0]
    if format == "preference" and "prompt" not in row:
        good = {"chosen": ASKED + ANSWERED, "rejected": [*ASKED, said("assistant", "No.")]}
    if format == "pairs":
        good = {"question": "x", "answer": "y"}
    reading, reason = decide([good], format=format, task=task)
    assert reading is not None, reason
    with pytest.raises(BadRow) as caught:
        example(row, reading)
    assert caught.value.field == field
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "x", "tool_calls", "name"]), inner
        )
    ),
    max_leaves=8,
)
COLUMNS = ["messages", "prompt", "completion", "text", "label", "chosen", "rejected", "answer"]


@given(row=st.dictionaries(st.sampled_from(COLUMNS), JSON), name=st.sampled_from(FORMAT_NAMES))
def test_any_row_is_learned_or_refused_in_words(row: dict[str, Any], name: FormatName) -> None:
    decide([row])
    good, task, _ = CASES[name]
    reading, _ = decide([good], format=name, task=task)
    assert reading is not None
    with contextlib.suppress(BadRow):
        assert example(row, reading).keys() >= CASES[name][2].keys()


def test_what_a_format_becomes_fits_its_shape() -> None:
    keys = {
        "chat": {"prompt", "completion"},
        "text": {"text"},
        "preference": {"prompt", "chosen", "rejected"},
        "judged": {"prompt", "completion", "label"},
        "labelled": {"text", "label"},
    }
    for name, (_, task, becomes) in CASES.items():
        assert set(becomes) == keys[shape_of(name, task)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["prompt=question, completion=answer", r"prompt={a}\n{b}, c, completion={d}!", "text=body"],
)
def test_columns_are_read_as_they_are_shown(text: str) -> None:
    assert show_columns(parse_columns(text)) == text


def test_a_brace_is_doubled_to_be_one() -> None:
    assert fill("{{x}} {a}", {"a": 1}) == "{x} 1"


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("a.jsonl", ("a.jsonl", 1.0)),
        ("a.jsonl*0.5", ("a.jsonl", 0.5)),
        ("a.jsonl * 2", ("a.jsonl", 2.0)),
        ("docs/*.md", ("docs/*.md", 1.0)),
        ("docs/*.md*3", ("docs/*.md", 3.0)),
    ],
)
def test_a_mixed_in_dataset_may_have_a_weight(entry: str, found: tuple[str, float]) -> None:
    assert parse_mixed(entry) == found


def test_a_weight_must_be_one() -> None:
    for bad in ("a*0", "a*-1", "a*1000", "a*1.2.3"):
        with pytest.raises(ValueError, match="weight"):
            parse_mixed(bad)
