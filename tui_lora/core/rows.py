"""What a row becomes: turns, texts, pairs and labels, checked. Why a row cannot be learned from.

Pure, so that the Data screen and the workers cannot disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["system", "user", "assistant", "tool"]
ROLES = ("system", "user", "assistant", "tool")
SAME_ROLES: Mapping[str, Role] = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "developer": "system",
    "observation": "tool",
    "function": "tool",
    "tool_response": "tool",
}
"""What ShareGPT and others call the roles."""

NOTHING_TO_LEARN = "nothing to learn"
_ORDER = "roles out of order"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class Turn(TypedDict):
    """`tool_calls`: `{"type": "function", "function": {"name": ..., "arguments": {...}}}` each."""

    role: str
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    name: NotRequired[str]


class BadRow(ValueError):
    """A row that cannot be learned from; the message says why, `field` where, `kind` what sort of
    thing is wrong (to count them by)."""

    def __init__(self, message: str, field: str = "", kind: str = "wrong type") -> None:
        self.field, self.kind = field, kind
        super().__init__(message)


def text_of(value: Any, field: str) -> str:
    """`value`, if it is a text with something in it; raises BadRow."""
    if value is None:
        raise BadRow("is null", field, "empty")
    if not isinstance(value, str):
        raise BadRow(f"is {_kind(value)}, not text", field)
    if not value.strip():
        raise BadRow("is empty", field, "empty")
    return _whole(value, field)


def _whole(text: str, field: str) -> str:
    """`text`; raises BadRow for what JSON can spell (an emoji cut in two), and UTF-8 and every
    tokenizer refuse."""
    if _HALF_CHARACTER.search(text):
        raise BadRow("holds half a character (a lone surrogate)", field, "broken text")
    return text


def turns_of(value: Any, field: str) -> list[Turn]:
    """The turns in `value`, with the usual roles in an order that can be; raises BadRow.

    Takes OpenAI's spelling (role, content) and ShareGPT's (from, value). A list in content is its
    text parts put together.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadRow("is not a list of turns (role and content)", field)
    turns = [_turn(item, f"{field}[{number}]") for number, item in enumerate(value)]
    _check_order(turns, field)
    return turns


def _turn(item: Any, at: str) -> Turn:
    if not isinstance(item, Mapping):
        raise BadRow("is not an object with role and content", at)
    is_sharegpt = "from" in item and "role" not in item
    role_key, text_key = ("from", "value") if is_sharegpt else ("role", "content")
    role = item.get(role_key)
    if role == "function_call":
        # LLaMA-Factory's ShareGPT writes a call as a turn of its own.
        here = f"{at}.{text_key}"
        called = _json(text_of(item.get(text_key), here), here)
        several = called if isinstance(called, list) and called else [called]
        return Turn(role="assistant", content="", tool_calls=[_call(one, here) for one in several])
    known = SAME_ROLES.get(role, role) if isinstance(role, str) else None
    if known not in ROLES:
        raise BadRow(
            f"unknown role {role!r:.30}; known are {', '.join(ROLES)}",
            f"{at}.{role_key}",
            "unknown role",
        )
    content = item.get(text_key)
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = _joined(content, f"{at}.{text_key}")
    calls = item.get("tool_calls")
    if calls:
        if known != "assistant" or not isinstance(calls, Sequence) or isinstance(calls, str):
            raise BadRow("are for assistant turns, as a list", f"{at}.tool_calls")
        found = [_call(call, f"{at}.tool_calls[{n}]") for n, call in enumerate(calls)]
        said = text_of(content, f"{at}.{text_key}") if content else ""
        return Turn(role="assistant", content=said, tool_calls=found)
    turn = Turn(role=str(known), content=text_of(content, f"{at}.{text_key}"))
    if known == "tool" and isinstance(item.get("name"), str):
        turn["name"] = _whole(item["name"], f"{at}.name")
    return turn


def _joined(parts: Sequence[Any], at: str) -> str:
    texts = []
    for number, part in enumerate(parts):
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise BadRow(f"is {kind!r:.30}; only text can be learned from", f"{at}[{number}]")
        texts.append(part["text"])
    return "".join(texts)


def _call(call: Any, at: str) -> dict[str, Any]:
    """A tool call with its arguments as an object: OpenAI writes them as a JSON text."""
    if isinstance(call, str):
        call = _json(call, at)
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise BadRow("has no function name", at)
    arguments = inner.get("arguments", inner.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json(arguments, f"{at}.arguments")
    if not isinstance(arguments, Mapping):
        raise BadRow("is not an object", f"{at}.arguments")
    function = {"name": inner["name"], "arguments": dict(arguments)}
    _written(function, at)
    return {"type": "function", "function": function}


def tools_of(value: Any, field: str) -> str | None:
    """The tools that a conversation may call, as JSON text (as trl takes them); None for none."""
    if value is None or value == "":
        return None
    found = _json(value, field) if isinstance(value, str) else value
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise BadRow("is not a list of tools", field)
    if any(not isinstance(tool, Mapping) for tool in found):
        raise BadRow("holds what is not an object", field)
    return _written(list(found), field) if found else None


def _written(value: Any, at: str) -> str:
    """`value` as JSON text; raises BadRow for what a table may hold and JSON cannot, such as a
    date."""
    try:
        written = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise BadRow("cannot be written as JSON", at) from None
    return _whole(written, at)


def _json(text: str, at: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRow("is no JSON", at) from None


def _check_order(turns: Sequence[Turn], field: str) -> None:
    """System first if at all, then user and assistant in turn; tools answer an assistant."""
    before = ""
    for number, turn in enumerate(turns):
        role, at = turn["role"], f"{field}[{number}].role"
        if role == "system" and number > 0:
            raise BadRow("a system turn stands behind others; it must be the first", at, _ORDER)
        if role == before and role in ("user", "assistant"):
            raise BadRow(f"roles out of order: two {role} turns in a row", at, _ORDER)
        if role == "tool" and before not in ("assistant", "tool"):
            raise BadRow(
                "roles out of order: a tool turn without an assistant's before it", at, _ORDER
            )
        if role == "user" and before == "tool":
            raise BadRow("roles out of order: nobody answered after the tool", at, _ORDER)
        before = role


def split_last(turns: list[Turn], field: str) -> tuple[list[Turn], list[Turn]]:
    """The turns that are given, and the assistant's last; raises BadRow."""
    if turns[-1]["role"] != "assistant":
        raise BadRow(
            "the last turn is not the assistant's, so there is nothing to learn",
            field,
            NOTHING_TO_LEARN,
        )
    if len(turns) == 1:
        raise BadRow("there is no turn before the assistant's", field, NOTHING_TO_LEARN)
    return turns[:-1], turns[-1:]


def label_of(value: Any, field: str) -> str:
    """A class as text: labels may be words, numbers or yes and no."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value != value:
            raise BadRow("is NaN", field)
        return f"{value:g}"
    return text_of(value, field).strip()


_GOOD: Mapping[Any, bool] = {
    "true": True,
    "1": True,
    "1.0": True,
    "good": True,
    "yes": True,
    "desirable": True,
    "false": False,
    "0": False,
    "0.0": False,
    "-1": False,
    "bad": False,
    "no": False,
    "undesirable": False,
}


def verdict_of(value: Any, field: str) -> bool:
    """Whether an answer is marked good; raises BadRow."""
    found = _GOOD.get(str(value).strip().lower()) if value is not None else None
    if found is None:
        raise BadRow(f"{value!r:.30} is neither good nor bad (true or false, 1 or 0)", field)
    return found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) else type(value).__name__
