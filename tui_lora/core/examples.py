"""What a row becomes, once it is decided how the rows of its dataset are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tui_lora.core.columns import fill, is_template, template_columns
from tui_lora.core.format_signs import MARKS_OF_GUANACO
from tui_lora.core.formats import Example, Reading
from tui_lora.core.rows import (
    NOTHING_TO_LEARN,
    BadRow,
    Turn,
    label_of,
    split_last,
    text_of,
    tools_of,
    turns_of,
    verdict_of,
)

_HH = re.compile(r"\s*\n\n(Human|Assistant): ?")


def example(row: Any, reading: Reading) -> Example:
    """What `row` becomes; raises BadRow, which says why it cannot be learned from and where."""
    if not isinstance(row, Mapping):
        raise BadRow("is not an object with named fields")
    if reading.task == "classification":
        return _labelled(row, reading)
    if reading.format == "preference":
        return _pair(row, reading)
    if reading.format == "kto":
        prompt = _prompt(row, reading)
        completion = _answer(row, reading, "completion")
        judged = verdict_of(_cell(row, reading, "label"), _where(reading, "label"))
        return {"prompt": prompt, "completion": completion, "label": judged}
    if reading.format == "text":
        return {"text": text_of(_cell(row, reading, "text"), _where(reading, "text"))}
    return _chat(row, reading)


def _chat(row: Mapping[str, Any], reading: Reading) -> Example:
    if reading.format in ("messages", "sharegpt"):
        at = _where(reading, "messages")
        turns = turns_of(_cell(row, reading, "messages"), at)
        prompt, completion = split_last(turns, at)
        prompt = _with_system(prompt, row, reading)
    elif reading.format == "guanaco":
        at = _where(reading, "text")
        text = text_of(_cell(row, reading, "text"), at)
        prompt, completion = split_last(_marked_turns(text, MARKS_OF_GUANACO, at), at)
        prompt = _with_system(prompt, row, reading)
    else:
        prompt = _prompt(row, reading)
        completion = _answer(row, reading, "completion")
    found: Example = {"prompt": prompt, "completion": completion}
    if "tools" in reading.columns:
        tools = tools_of(_if_there(row, reading, "tools"), _where(reading, "tools"))
        if tools is not None:
            found["tools"] = tools
    return found


def _prompt(row: Mapping[str, Any], reading: Reading) -> list[Turn]:
    at = _where(reading, "prompt")
    value = _cell(row, reading, "prompt")
    if isinstance(value, Sequence) and not isinstance(value, str):
        turns = turns_of(value, at)
        if turns[-1]["role"] == "assistant":
            raise BadRow(
                "ends with an assistant turn, so the answer has nothing to answer",
                at,
                NOTHING_TO_LEARN,
            )
        return _with_system(turns, row, reading)
    text = text_of(value, at)
    if "input" in reading.columns:
        more = _if_there(row, reading, "input")
        if more is not None and not (isinstance(more, str) and not more.strip()):
            text = f"{text}\n\n{text_of(more, _where(reading, 'input'))}"
    return _with_system([Turn(role="user", content=text)], row, reading)


def _answer(row: Mapping[str, Any], reading: Reading, part: str) -> list[Turn]:
    at, value = _where(reading, part), _cell(row, reading, part)
    if isinstance(value, Sequence) and not isinstance(value, str):
        turns = turns_of(value, at)
        if turns[-1]["role"] != "assistant":
            raise BadRow("does not end with the assistant's turn", at, NOTHING_TO_LEARN)
        return turns
    return [Turn(role="assistant", content=text_of(value, at))]


def _with_system(turns: list[Turn], row: Mapping[str, Any], reading: Reading) -> list[Turn]:
    if turns[0]["role"] == "system":
        return turns
    said = _if_there(row, reading, "system") if "system" in reading.columns else None
    if not (isinstance(said, str) and said.strip()):
        said = reading.system
    return [Turn(role="system", content=text_of(said, "system")), *turns] if said else turns


def _pair(row: Mapping[str, Any], reading: Reading) -> Example:
    chosen, rejected = (_side(row, reading, part) for part in ("chosen", "rejected"))
    asked = _prompt(row, reading) if "prompt" in reading.columns else []
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    # Some datasets repeat the prompt in both answers; what both share is the prompt then.
    if shared:
        prompt = _with_system(chosen[:shared], row, reading)
        if asked and asked[0]["role"] == "system" != prompt[0]["role"]:
            prompt = [asked[0], *prompt]
    else:
        prompt = asked
    if not prompt:
        raise BadRow("chosen and rejected share no beginning, and there is no prompt", "prompt")
    chosen, rejected = chosen[shared:], rejected[shared:]
    for part, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[0]["role"] != "assistant" or turns[-1]["role"] != "assistant":
            raise BadRow("is not an answer: its turns are not the assistant's", part)
    if chosen == rejected:
        raise BadRow(
            "is the same as the chosen answer", _where(reading, "rejected"), NOTHING_TO_LEARN
        )
    if reading.task == "sft":
        return {"prompt": prompt, "completion": chosen}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _side(row: Mapping[str, Any], reading: Reading, part: str) -> list[Turn]:
    """One side of a pair as turns: Anthropic's text of Human: and Assistant: is several."""
    at, value = _where(reading, part), _cell(row, reading, part)
    if isinstance(value, str) and "prompt" not in reading.columns and _HH.match(value):
        return _marked_turns(text_of(value, at), _HH, at)
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return turns_of(value, at)
    return [Turn(role="assistant", content=text_of(value, at))]


def _marked_turns(text: str, mark: re.Pattern[str], at: str) -> list[Turn]:
    """Turns of a text in which each begins with who speaks."""
    parts = mark.split(text)
    if len(parts) < 3:
        raise BadRow("has no turns marked in it", at)
    if parts[0].strip():
        raise BadRow("begins with text that is nobody's turn", at)
    turns = [
        {"from": "human" if who.lower() == "human" else "gpt", "value": said.strip()}
        for who, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return turns_of(turns, at)


def _labelled(row: Mapping[str, Any], reading: Reading) -> Example:
    text = text_of(_cell(row, reading, "text"), _where(reading, "text"))
    if "text_pair" in reading.columns:
        # A causal model has no token between two texts, so the columns' names tell them apart.
        second = text_of(_cell(row, reading, "text_pair"), _where(reading, "text_pair"))
        names = (reading.columns["text"], reading.columns["text_pair"])
        if any(is_template(name) for name in names):
            names = ("text 1", "text 2")
        text = f"{names[0]}: {text}\n{names[1]}: {second}"
    return {"text": text, "label": label_of(_cell(row, reading, "label"), _where(reading, "label"))}


def _cell(row: Mapping[str, Any], reading: Reading, part: str) -> Any:
    """What stands in the column that plays `part`, or the user's template filled."""
    column = reading.columns[part]
    if not is_template(column):
        if column not in row:
            raise BadRow("is missing", column, "missing column")
        return row[column]
    try:
        return fill(column, row)
    except KeyError as error:
        there = ", ".join(template_columns(column))
        raise BadRow(
            f"has no column {error} for the template over {there}", part, "missing column"
        ) from None


def _if_there(row: Mapping[str, Any], reading: Reading, part: str) -> Any:
    """The same of a part that not every row has; None for none."""
    column = reading.columns[part]
    return _cell(row, reading, part) if column in row or is_template(column) else None


def _where(reading: Reading, part: str) -> str:
    """The column's name for an error; the part's where a template fills it."""
    column = reading.columns.get(part, part)
    return part if is_template(column) else column
