"""Rows of a dataset: what they look like, and what prompt and completion they become.

Pure, so that the Data screen and the worker cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from tui_lora.core.text import clean

RowFormat = Literal["messages", "prompt_completion"]
ROLES = ("system", "user", "assistant")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class Turn(TypedDict):
    role: str
    content: str


class BadRow(ValueError):
    """A row that cannot be learned from; the message says why, `field` where."""

    def __init__(self, message: str, field: str = "") -> None:
        self.field = field
        super().__init__(message)


def detect_format(rows: Sequence[Any]) -> tuple[RowFormat | None, str]:
    """The format of the first rows and the reason, or None and what was found instead."""
    objects = [row for row in rows if isinstance(row, Mapping)]
    if not objects:
        return None, "no row is an object with named fields"
    found: dict[RowFormat, int] = {
        "messages": sum("messages" in row for row in objects),
        "prompt_completion": sum("prompt" in row and "completion" in row for row in objects),
    }
    best: RowFormat = (
        "messages" if found["messages"] >= found["prompt_completion"] else "prompt_completion"
    )
    if found[best]:
        what = "a messages field" if best == "messages" else "prompt and completion fields"
        return best, f"{found[best]} of the first {len(rows)} rows have {what}"
    keys = {clean(str(key), max_chars=40) for row in objects for key in row}
    names = ", ".join(sorted(keys)[:8])
    return None, (
        f"the rows have the fields {names or '(none)'}; needed is messages, or prompt and "
        "completion"
    )


def as_prompt_completion(row: Any, format: RowFormat) -> tuple[list[Turn], list[Turn]]:
    """The turns that are given and the turns that are learned.

    `messages` rows learn their last turn, which must be the assistant's; `prompt_completion` rows
    with plain strings become one user and one assistant turn. Raises `BadRow`.
    """
    if not isinstance(row, Mapping):
        raise BadRow("is not an object with named fields")
    if format == "messages":
        turns = _turns(row.get("messages"), "messages")
        if turns[-1]["role"] != "assistant":
            raise BadRow("the last turn is not the assistant's, so there is nothing to learn")
        if len(turns) == 1:
            raise BadRow("there is no turn before the assistant's")
        return turns[:-1], turns[-1:]
    prompt, completion = row.get("prompt"), row.get("completion")
    return (
        [Turn(role="user", content=_text(prompt, "prompt"))]
        if isinstance(prompt, str)
        else _turns(prompt, "prompt"),
        [Turn(role="assistant", content=_text(completion, "completion"))]
        if isinstance(completion, str)
        else _turns(completion, "completion"),
    )


def _turns(value: Any, field: str) -> list[Turn]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadRow("is not a list of turns (role and content)", field)
    turns = []
    for number, item in enumerate(value):
        at = f"{field}[{number}]"
        if not isinstance(item, Mapping):
            raise BadRow("is not an object with role and content", at)
        role = item.get("role")
        if role not in ROLES:
            raise BadRow(f"unknown role {role!r:.30}; known are {', '.join(ROLES)}", f"{at}.role")
        turns.append(Turn(role=role, content=_text(item.get("content"), f"{at}.content")))
    return turns


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise BadRow("is not text", field)
    if not value.strip():
        raise BadRow("is empty", field)
    if _HALF_CHARACTER.search(value):
        # JSON can spell it (an emoji cut in two), UTF-8 and every tokenizer refuse it.
        raise BadRow("holds half a character (a lone surrogate)", field)
    return value
