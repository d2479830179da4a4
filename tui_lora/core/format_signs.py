"""The signs by which a row's format is known: which of its columns play which part.

Each function returns the columns by the part that they play, or None for a row of another format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tui_lora.core.columns import is_template

MARKS_OF_GUANACO = re.compile(r"\s*###\s*(Human|Assistant)\s*:", re.IGNORECASE)
_NAMES_OF_TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog")
_NAMES_OF_TEXT = ("text", "content", "body", "document", "passage", "markdown")
_NAMES_OF_CLASSIFIED = (
    "text",
    "sentence",
    "review",
    "tweet",
    "comment",
    "content",
    "title",
    "question",
    "utterance",
    "query",
)
_NAMES_OF_LABEL = ("label", "labels", "sentiment", "intent")
NAMES_THAT_MAY_BE_LABEL = ("category", "class", "topic", "target", "genre", "type")
"""Many texts have such a column beside them; it is a label only where one is looked for."""
_TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
)
_PAIRS = (
    ("question", "answer"),
    ("instruction", "response"),
    ("instruction", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("problem", "solution"),
    ("question", "response"),
    ("input", "output"),
    ("inputs", "targets"),
    ("source", "target"),
    ("user", "assistant"),
    ("document", "summary"),
    ("dialogue", "summary"),
    ("article", "summary"),
    ("article", "highlights"),
)
_NAMES_OF_ASKED = ("instruction", "question", "query")
"""What is asked about a text of its own, if there is one; a `prompt` holds it already."""
MAY_BE_THERE: Mapping[str, tuple[str, ...]] = {
    "system": ("system", "system_prompt"),
    "input": ("input", "context"),
    "tools": ("tools",),
}
"""The parts that only some rows of a format have, and what their columns are called."""


def _turns_in(row: Mapping[str, Any], key: str) -> str | None:
    """The column among the usual names of conversations whose turns have `key`."""
    for name in _NAMES_OF_TURNS:
        value = row.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            first = value[0]
            if isinstance(first, Mapping) and key in first:
                return name
    return None


def messages(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    name = _turns_in(row, "role") or ("messages" if "messages" in row else None)
    if name is None or "chosen" in row or _turns_in(row, "from"):
        return None
    return _with_own(row, {"messages": name}, "system", "tools")


def sharegpt(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    name = _turns_in(row, "from")
    if name is None or ("chosen" in row and "rejected" in row):
        return None
    return _with_own(row, {"messages": name}, "system", "tools")


def alpaca(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "instruction" not in row or "output" not in row:
        return None
    return _with_own(row, {"prompt": "instruction", "completion": "output"}, "input", "system")


def prompt_completion(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "prompt" not in row or "completion" not in row:
        return None
    return _with_own(row, {"prompt": "prompt", "completion": "completion"}, "system", "tools")


def pairs(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    for prompt, completion in _PAIRS:
        if isinstance(row.get(prompt), str) and isinstance(row.get(completion), str):
            columns = {"prompt": prompt, "completion": completion}
            return _with_own(row, columns, *_beside(prompt))
    return None


def gsm8k(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    answer = row.get("answer")
    if isinstance(row.get("question"), str) and isinstance(answer, str) and "\n####" in answer:
        return {"prompt": "question", "completion": "answer"}
    return None


def guanaco(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    text = row.get("text")
    # At its beginning: a document may well speak of such marks.
    if not isinstance(text, str) or not MARKS_OF_GUANACO.match(text):
        return None
    both = len({who.lower() for who in MARKS_OF_GUANACO.findall(text)}) == 2
    return {"text": "text"} if both else None


def preference(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "chosen" not in row or "rejected" not in row:
        return None
    columns = {"chosen": "chosen", "rejected": "rejected"}
    prompt = next((name for name in ("prompt", "question", "instruction") if name in row), None)
    prompt = prompt or _turns_that_ask(row)
    if prompt is None:
        return _with_own(row, columns, "system")
    return _with_own(row, {"prompt": prompt, **columns}, *_beside(prompt))


def _turns_that_ask(row: Mapping[str, Any]) -> str | None:
    """The column of a conversation that the two answers carry on."""
    for who, asking in (("role", "user"), ("from", "human")):
        name = _turns_in(row, who)
        last = row[name][-1] if name is not None else None
        if isinstance(last, Mapping) and last.get(who) == asking:
            return name
    return None


def kto(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "prompt" not in row or "completion" not in row or "label" not in row:
        return None
    columns = {"prompt": "prompt", "completion": "completion", "label": "label"}
    return _with_own(row, columns, "system")


def classification(
    row: Mapping[str, Any], labels: Sequence[str] = _NAMES_OF_LABEL
) -> Mapping[str, str] | None:
    label = next((name for name in labels if _is_label(row.get(name))), None)
    if label is None:
        return None
    for first, second in _TEXT_PAIRS:
        if isinstance(row.get(first), str) and isinstance(row.get(second), str):
            return {"text": first, "text_pair": second, "label": label}
    text = next((name for name in _NAMES_OF_CLASSIFIED if isinstance(row.get(name), str)), None)
    return None if text is None else {"text": text, "label": label}


def _is_label(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 80)


def text(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "parent_id" in row and "role" in row:  # one turn of a tree of them
        return None
    name = next((name for name in _NAMES_OF_TEXT if isinstance(row.get(name), str)), None)
    if name != "text" and "question" in row:
        return None
    if name is None:
        texts = [key for key, value in row.items() if isinstance(value, str)]
        # A name with a brace in it would be taken for a template.
        alone = len(texts) == 1 and len(row) == 1 and not is_template(texts[0])
        name = texts[0] if alone else None
    return None if name is None else {"text": name}


def _beside(prompt: str) -> tuple[str, ...]:
    return ("input", "system") if prompt in _NAMES_OF_ASKED else ("system",)


def _with_own(row: Mapping[str, Any], columns: dict[str, str], *parts: str) -> dict[str, str]:
    """`columns` with those of `parts` that have a column of their own, also where it is empty."""
    found = dict(columns)
    for part in parts:
        kinds = str | list | None if part == "tools" else str | None
        for name in MAY_BE_THERE[part]:
            if name in row and name not in found.values() and isinstance(row[name], kinds):
                found[part] = name
                break
    return found
