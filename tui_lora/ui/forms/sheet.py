"""Where each row of a form stands: groups under headings, in one column or several."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from textual.content import Content

from tui_lora.ui.forms.entry import VALUE_AT, Entry, row, title
from tui_lora.ui.ink import DIM, TIGHT, WRONG, dim, ink, join

HINT_ROWS = 2


@dataclass(frozen=True)
class Spot:
    """The place of one entry: its first row, the rows that belong to it, where its column is."""

    x: int
    y: int
    height: int
    width: int
    heading: bool


@dataclass(frozen=True)
class Sheet:
    """Rows from the top, a piece of each in every column; `spots` in the order of the entries."""

    lines: tuple[tuple[Content, ...], ...]
    spots: tuple[Spot, ...]

    @property
    def height(self) -> int:
        return len(self.lines)


def columns_for(width: int) -> int:
    return 1 if width < 108 else 2 if width < 168 else 3


def lay_out(
    entries: Sequence[Entry],
    width: int,
    open_at: int | None = None,
    headings: Mapping[str, str] | None = None,
    *,
    headed: bool = True,
) -> Sheet:
    """Place every entry; the one at `open_at` gets rows below it for what is said while typing.

    `headings` has what is to be said beside a group's title. `headed` False: one list without
    titles, for a form of a few settings.
    """
    count = columns_for(width)
    room = width // count
    groups: list[list[int]] = []
    for index, entry in enumerate(entries):
        other = not groups or title(entries[groups[-1][0]].setting) != title(entry.setting)
        if other or not headed:
            groups.append([])
        groups[-1].append(index)
    columns: list[list[Content]] = []
    spots: dict[int, Spot] = {}
    spare = 2 if headed else 0
    for column, part in enumerate(_broken([len(g) + spare for g in groups], count)):
        lines: list[Content] = []
        for group in groups[part]:
            if lines and headed:
                lines.append(Content(" " * room))
            if headed:
                lines.append(_heading(title(entries[group[0]].setting), headings or {}, room))
            for index in group:
                below = _below(entries[index], room, index == open_at)
                first = headed and index == group[0]
                spots[index] = Spot(column * room, len(lines), 1 + len(below), room, first)
                lines += [row(entries[index], room), *below]
        columns.append(lines)
    height = max(map(len, columns), default=0)
    blank = Content(" " * room)
    for lines in columns:
        lines += [blank] * (height - len(lines))
    return Sheet(
        tuple(zip(*columns, strict=True)), tuple(spots[index] for index in range(len(entries)))
    )


def _broken(heights: Sequence[int], count: int) -> list[slice]:
    """Where to begin a new column so that the tallest is as low as can be.

    Counts settings only, so that a sentence that comes or goes moves nothing to another column.
    """
    last = len(heights)
    best = min(
        ((0, *breaks, last) for breaks in combinations(range(1, last), min(count, last) - 1)),
        key=lambda cuts: max(sum(heights[a:b]) for a, b in pairwise(cuts)),
    )
    return [slice(a, b) for a, b in pairwise(best)]


def _heading(name: str, headings: Mapping[str, str], room: int) -> Content:
    row = join(
        " ", ink(name, f"bold {DIM}"), dim(f"   {said}" if (said := headings.get(name)) else "")
    )
    return row.truncate(room, ellipsis=True, pad=True)


def _below(entry: Entry, room: int, open_here: bool) -> list[Content]:
    if open_here:
        # The form says there what is wrong while it is typed.
        return [Content(" " * room)] * HINT_ROWS
    if not entry.problem:
        return []
    style = TIGHT if entry.missing else WRONG
    return said_below(entry.problem, style, room)


def said_below(text: str, style: str, room: int, rows: int = 0) -> list[Content]:
    """A sentence in the column of the values; exactly `rows` rows of it where that is given."""
    wrapped = textwrap.wrap(text, max(20, room - VALUE_AT - 2)) or [""]
    if rows:
        if len(wrapped) > rows:
            wrapped[rows - 1] += " …"
        wrapped = (wrapped + [""] * rows)[:rows]
    return [_piece(line, style, VALUE_AT, room) for line in wrapped]


def _piece(text: str, style: str, indent: int, room: int) -> Content:
    content = join(" " * indent, ink(text, style))
    return content.truncate(room, ellipsis=True, pad=True)
