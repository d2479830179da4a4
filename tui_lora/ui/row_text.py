"""A row of a dataset in words and figures: as it was written, and as it will be fed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tui_lora.core.text import UNKNOWN, clean, one_line
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    STRONG,
    TIGHT,
    WRONG,
    dim,
    ink,
    join,
    left,
    right,
)

if TYPE_CHECKING:
    from tui_lora.core.inspect import RowFed
    from tui_lora.store.dataset import Row

MOST_CHARS = 20_000
TRAINED = "underline $foreground"
MARGIN = "▌"
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:pad|unk|bos|eos|start_of_turn|end_of_turn)>")


def written_rows(row: Row) -> list[Content]:
    """A row as the user wrote it: its turns by role, then whatever else stands in it."""
    if row.problem:
        return [ink(f"✗ line {row.line:,} {row.problem}.", WRONG)]
    if not isinstance(row.value, Mapping):
        return _json(row.value)
    rows: list[Content] = []
    rest: dict[str, Any] = {}
    for key, value in row.value.items():
        if key in ("messages", "prompt", "completion") and _is_turns(value):
            if key != "messages":
                rows.append(dim(f"{key}:"))
            for turn in value:
                rows += _said(str(turn.get("role")), turn.get("content"))
        elif key in ("prompt", "completion"):
            rows += _said(key, value)
        else:
            rest[str(key)] = value
    for key, value in rest.items():
        text = value if isinstance(value, str) else _dumped(value)
        rows.append(join(dim(f"{one_line(key, max_chars=60)}  "), ink(_capped(text), DIM)))
    return rows or [dim("an empty object")]


def fed_rows(fed: RowFed, width: int) -> list[Content]:
    """A row as the model will be fed it: what is trained has a margin, is bright and underlined.

    Line ends are shown, since they are tokens too.
    """
    rows: list[Content] = []
    line: list[tuple[str, bool]] = []
    shown = 0

    def end_line() -> None:
        learned = any(trained for _, trained in line)
        text = join(*[part for text, trained in line for part in _marked(text, trained)])
        margin = ink(MARGIN, ACCENT) if learned else Content(" ")
        wrapped = text.wrap(max(10, width - 2)) if text.plain else [text]
        rows.extend(join(margin, " ", part) for part in wrapped)
        line.clear()

    for piece in fed.pieces:
        text = piece.text[: max(0, MOST_CHARS - shown)]
        shown += len(text)
        for part in re.split(r"(?<=\n)", text):
            line.append((part.replace("\n", "⏎"), piece.trained))
            if part.endswith("\n"):
                end_line()
    if any(text for text, _ in line):
        end_line()
    total = sum(len(piece.text) for piece in fed.pieces)
    if total > shown:
        rows.append(dim(f"… and {total - shown:,} more characters"))
    if fed.cut_tokens:
        rows.append(ink(f"✂ {fed.cut_tokens:,} tokens behind max length are cut off", TIGHT))
    return rows


def row_head(number: int, total: str, line: int | None, fed: RowFed | None) -> list[Content]:
    """`row 17 of 7,473`, and the counts of the fed row in columns that stand still."""
    where = join(dim("row "), ink(f"{number + 1:,}", STRONG), dim(f" of {total}"))
    cut = fed.cut_tokens if fed is not None else 0
    pieces = [
        left(where, 24),
        _count("tokens", fed.tokens if fed else None),
        _count("trained", fed.trained_tokens if fed else None),
        _count("cut", fed.cut_tokens if fed else None, TIGHT if cut else BRIGHT),
    ]
    return [*pieces, dim(f"line {line:,}")] if line is not None else pieces


def _said(role: str, content: Any) -> list[Content]:
    text = content if isinstance(content, str) else _dumped(content)
    return [ink(one_line(role, max_chars=40), ACCENT), ink(_capped(text)), Content("")]


def _is_turns(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(turn, Mapping) and "role" in turn for turn in value)
    )


def _json(value: Any) -> list[Content]:
    return [dim("not an object with named fields:"), ink(_capped(_dumped(value)))]


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _capped(text: str) -> str:
    more = len(text) - MOST_CHARS
    return clean(text[:MOST_CHARS]) + (f"\n… and {more:,} more characters" if more > 0 else "")


def _marked(text: str, trained: bool) -> list[tuple[str, str]]:
    """The text with special tokens and line ends told apart by colour."""
    parts: list[tuple[str, str]] = []
    plain, special = (TRAINED, f"underline {ACCENT}") if trained else (DIM, ACCENT)
    at = 0
    for found in _SPECIAL.finditer(text):
        parts += [(text[at : found.start()], plain), (found.group(), special)]
        at = found.end()
    rest = text[at:]
    if rest.endswith("⏎"):
        return [*parts, (rest[:-1], plain), ("⏎", DIM if not trained else f"underline {DIM}")]
    return [*parts, (rest, plain)]


def _count(label: str, value: int | None, style: str = BRIGHT) -> Content:
    shown = UNKNOWN if value is None else f"{value:,}"
    return join(dim(f"{label} "), right(ink(shown, DIM if value is None else style), 4))
