"""A row as the user wrote it: taken apart once, in the thread that reads, and drawn from that.

Rows can be tens of megabytes; what is kept of one is no more than people read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tui_lora.core.text import clean, one_line
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, TIGHT, WRONG, dim, ink, join

if TYPE_CHECKING:
    from tui_lora.store.sources import Row

MOST_CHARS = 20_000
MOST_PARTS = 200
SHORT = 60
FOUND = "reverse"


@dataclass(frozen=True)
class Part:
    """One labelled text of a row: a column, or a turn of the conversation in `column`."""

    label: str
    text: str
    column: str
    turn: bool = False
    more_chars: int = 0


@dataclass(frozen=True)
class Written:
    """A row as people see it; `problem` says why it cannot be read."""

    number: int
    line: int
    file: str
    parts: tuple[Part, ...]
    problem: str = ""


def written(row: Row) -> Written:
    """Take a row apart."""
    file = clean(row.file)
    if row.problem:
        return Written(row.number, row.line, file, (), clean(row.problem))
    parts = []
    for part in _parts(row.value):
        parts.append(part)
        if len(parts) >= MOST_PARTS:
            break
    return Written(row.number, row.line, file, tuple(parts))


def _parts(value: Any) -> Iterator[Part]:
    if not isinstance(value, Mapping):
        yield _part("not an object with named fields", value, "")
        return
    for key, content in value.items():
        column = one_line(str(key), max_chars=SHORT)
        if not _is_turns(content):
            yield _part(column, content, column)
            continue
        for turn in content:
            who = turn.get("role", turn.get("from"))
            said = turn.get("content", turn.get("value"))
            role = one_line(str(who), max_chars=SHORT)
            if said is not None and said != "":
                yield _part(role, said, column, turn=True)
            for call in _calls(turn.get("tool_calls")):
                yield _part(f"{role} calls", call, column, turn=True)


def _part(label: str, value: Any, column: str, *, turn: bool = False) -> Part:
    if isinstance(value, str):
        text, more = value[:MOST_CHARS], max(0, len(value) - MOST_CHARS)
    else:
        text, more = dumped(value), 0
    return Part(label, clean(text), column, turn, more)


def _is_turns(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in value)
    )


def _calls(value: Any) -> Iterator[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return
    for call in value:
        inner = call.get("function", call) if isinstance(call, Mapping) else call
        if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
            yield f"{inner['name']}({_inline(inner.get('arguments', ''))})"
        else:
            yield inner


def _inline(value: Any) -> str:
    return value if isinstance(value, str) else dumped(value)


def dumped(value: Any, room: int = MOST_CHARS) -> str:
    """A value as JSON, as far as `room` characters go: a whole one may be huge."""
    pieces: list[str] = []
    left = room
    for piece in _dump(value, 0):
        pieces.append(piece[:left])
        left -= len(piece)
        if left <= 0:
            pieces.append(" …")
            break
    return "".join(pieces)


def _dump(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield f'"{value}"'
    elif isinstance(value, Mapping) and depth < 20:
        yield "{"
        for at, (key, inner) in enumerate(value.items()):
            yield f"{', ' if at else ''}{str(key)[:MOST_CHARS]}: "
            yield from _dump(inner, depth + 1)
        yield "}"
    elif isinstance(value, Sequence) and not isinstance(value, bytes) and depth < 20:
        yield "["
        for at, inner in enumerate(value):
            if at:
                yield ", "
            yield from _dump(inner, depth + 1)
        yield "]"
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, int | float):
        # A whole number of thousands of digits is refused by Python itself.
        yield repr(value) if abs(value) < 1e300 or value != value else "a huge number"
    else:
        yield "…" if isinstance(value, Mapping | Sequence) else f"({type(value).__name__})"


def written_rows(
    row: Written, plays: Mapping[str, str], *, problem: str = "", find: str = ""
) -> list[Content]:
    """Its parts, each under its label; `plays` says which part of an example a column plays.

    `problem` is what a check found wrong with it, `find` what is being looked for.
    """
    if row.problem:
        return [ink(f"✗ line {row.line:,} {row.problem}.", WRONG)]
    rows: list[Content] = []
    if problem:
        rows += [ink(f"! {one_line(problem)}", TIGHT), Content("")]
    for part in row.parts:
        unused = bool(plays) and part.column not in plays
        role = "" if part.turn else plays.get(part.column, "")
        arrow = f" → {role}" if role and role != part.label else ""
        text = marked(ink(part.text, DIM if unused else BRIGHT), find)
        if part.more_chars:
            text = join(text, dim(f"\n… and {part.more_chars:,} more characters"))
        if unused and "\n" not in part.text and len(part.text) <= SHORT:
            rows.append(join(dim(f"{part.label}  "), text))
            continue
        if rows and rows[-1].plain:
            rows.append(Content(""))
        label = join((part.label, DIM if unused else ACCENT), dim(arrow))
        rows += [label, *text.split("\n"), Content("")]
    if rows and not rows[-1].plain:
        rows.pop()
    return rows or [dim("an empty object")]


def marked(text: Content, find: str) -> Content:
    """The text with what is looked for in reverse."""
    if find:
        for hit in re.finditer(re.escape(find), text.plain, re.IGNORECASE):
            text = text.stylize(FOUND, *hit.span())
    return text
