"""A file of prompts for a chat: one a line, or JSONL. Read whole before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean

_MORE_SHOWN = 5


@dataclass(frozen=True)
class Prompt:
    """The turns to be answered, and the line of the file where they stand, from 1."""

    line: int
    turns: tuple[Turn, ...]


def read_prompts(text: str, system: str | None = None) -> list[Prompt]:
    """The prompts in the file called `text`; `system` comes before those that have none. A file
    called .jsonl has objects with `prompt` (and perhaps `system`) or `messages`, each other file a
    prompt a line. Raises UserError with the file and the line."""
    file = Path(text).expanduser()
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(
            f"the prompts cannot be read: {error.strerror}.", where=clean(str(file))
        ) from None
    read = _row if file.suffix.lower() == ".jsonl" else _line
    opening = (Turn(role="system", content=system),) if system else ()
    found: list[Prompt] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            turns = read(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r"))
        except UnicodeDecodeError:
            bad.append((number, "it is not UTF-8"))
        except ValueError as error:
            bad.append((number, str(error)))
        else:
            own = turns[0].role == "system"
            found.append(Prompt(number, turns if own else (*opening, *turns)))
    if bad:
        first, why = bad[0]
        rest = ", ".join(str(number) for number, _ in bad[1 : 1 + _MORE_SHOWN])
        more = f" Lines {rest} are bad too." if len(bad) > 2 else ""
        if len(bad) == 2:
            more = f" Line {rest} is bad too."
        if len(bad) > 1 + _MORE_SHOWN:
            more = f" {len(bad) - 1:,} more lines are bad, {rest} among them."
        raise UserError(f"{why}.{more}", where=f"{clean(str(file))}:{first}", then=_WANTED)
    if not found:
        raise UserError("there is no prompt in it.", where=clean(str(file)))
    return found


_WANTED = (
    'In a .jsonl file each line is {"prompt": "..."} or {"messages": [{"role": "user", "content": '
    '"..."}]}; in any other a line is a prompt.'
)


def _line(text: str) -> tuple[Turn, ...]:
    return (Turn(role="user", content=text.strip()),)


def _row(text: str) -> tuple[Turn, ...]:
    """Raises ValueError with what is wrong."""
    try:
        row: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")
    prompt, messages, system = row.get("prompt"), row.get("messages"), row.get("system")
    if prompt is not None and messages is not None:
        raise ValueError("it has prompt and messages; one of them is meant")
    if system is not None and not isinstance(system, str):
        raise ValueError("its system is no text")
    if messages is not None and system:
        raise ValueError(
            "it has messages and system; the system prompt is the first of the messages"
        )
    if isinstance(prompt, str) and prompt.strip():
        user = Turn(role="user", content=prompt)
        return (Turn(role="system", content=system), user) if system else (user,)
    if not isinstance(messages, list) or not messages:
        raise ValueError("it has neither a prompt nor messages")
    try:
        turns = tuple(Turn.model_validate(message) for message in messages)
    except ValidationError:
        raise ValueError(
            "its messages are not all a role (system, user or assistant) and a content"
        ) from None
    if turns[-1].role != "user":
        raise ValueError("its last message is not the user's, so there is nothing to answer")
    if not turns[-1].content.strip():
        raise ValueError("its last message says nothing, so there is nothing to answer")
    return turns
