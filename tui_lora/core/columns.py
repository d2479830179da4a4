"""Which column plays which part in a row: `prompt=question`, or a template over several columns."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

PARTS = (
    "messages",
    "prompt",
    "input",
    "completion",
    "system",
    "text",
    "text_pair",
    "label",
    "chosen",
    "rejected",
    "tools",
)
"""What a row is made of, whatever its columns are called; `input` is Alpaca's, below the prompt."""

_PAIR = re.compile(rf"\s*({'|'.join(PARTS)})\s*=")


def parse_columns(text: str) -> dict[str, str]:
    """`prompt=question, completion=answer` as a mapping; raises ValueError.

    A comma belongs to a template unless a part's name and = follow it. `\\n` is a line end.
    """
    text = text.strip()
    if not text:
        return {}
    pieces: list[str] = []
    for piece in text.split(","):
        if _PAIR.match(piece) or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += f",{piece}"
    found = {}
    for piece in pieces:
        part, equals, column = piece.partition("=")
        if not equals:
            raise ValueError(
                f"{piece.strip()!r:.60} is no pair; write part=column, such as prompt=question"
            )
        found[part.strip()] = column.strip().replace("\\n", "\n")
    return found


def show_columns(columns: Mapping[str, str]) -> str:
    """What `parse_columns` reads."""
    return ", ".join(f"{part}={column}".replace("\n", "\\n") for part, column in columns.items())


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise ValueError for a part that there is not, and for a template that cannot be filled."""
    for part, column in columns.items():
        if part not in PARTS:
            raise ValueError(f"{part!r:.40} is no part of a row; parts are {', '.join(PARTS)}")
        if not column:
            raise ValueError(f"{part} names no column")
        if is_template(column):
            template_columns(column)


def is_template(column: str) -> bool:
    return "{" in column


def template_columns(template: str) -> tuple[str, ...]:
    """The columns that a template names; `{{` is a brace. Raises ValueError."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the template {template!r:.60} has a brace too many: {error}") from None
    names = []
    for _, name, spec, conversion in pieces:
        if name is None:
            continue
        if not name.strip() or spec or conversion:
            raise ValueError(f"the template {template!r:.60} needs a column's name in each {{}}")
        names.append(name)
    if not names:
        raise ValueError(f"the template {template!r:.60} names no column")
    return tuple(names)


def fill(template: str, row: Mapping[str, Any]) -> str:
    """The template with the row's columns put in; raises KeyError with the column that is missing.

    A column that is null is an empty text.
    """
    parts = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            value = row[name]
            parts.append("" if value is None else str(value))
    return "".join(parts)


def parse_mixed(entry: str) -> tuple[str, float]:
    """`extra.jsonl*0.5` as a path and its weight (1 where there is none); raises ValueError."""
    path, star, weight = entry.rpartition("*")
    # A pattern such as docs/*.md ends in no number.
    if not star or not re.fullmatch(r"\s*[-+]?[0-9.]+\s*", weight):
        return entry.strip(), 1.0
    try:
        found = float(weight)
    except ValueError:
        raise ValueError(f"{weight.strip()!r:.20} is no weight") from None
    if not 0 < found <= 100:
        raise ValueError(f"the weight {found:g} is not above 0 and up to 100")
    return path.strip(), found
