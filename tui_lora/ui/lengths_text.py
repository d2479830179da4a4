"""The lengths of a dataset's rows in tokens, drawn: where max length stands, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, count
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    FAINT,
    GOOD,
    STRONG,
    TIGHT,
    bar,
    dim,
    fitting,
    ink,
    join,
    left,
    right,
)

if TYPE_CHECKING:
    from tui_lora.core.inspect import LengthsMeasured

GLYPHS = " ▁▂▃▄▅▆▇█"
LINE_BARS = 20
FIGURES = 48
FEWEST_ROWS = 5
MARK = "┊"
WITHIN = "$chart-eval"
"""Bars of rows that fit; what lies behind max length has the colour of warnings."""


def lossless(measured: LengthsMeasured) -> int | None:
    """The max length that loses nothing of the rows measured; None where nothing is lost now."""
    if not measured.cut_rows:
        return None
    return math.ceil(measured.longest / 8) * 8


def lengths_rows(measured: LengthsMeasured, width: int, height: int) -> list[Content]:
    """The histogram and its figures in so much room: one row, or `FEWEST_ROWS` and more."""
    if height < FEWEST_ROWS:
        return [_line(measured, width)]
    figures = _figures(measured)
    beside = width >= 100
    room = width - FIGURES - 2 if beside else width
    tall = height - 1 if beside else height - 1 - _below(figures, height)
    chart = _chart(measured, room, max(1, tall - 2))
    rows = [_title(measured, width), *(left(row, room) for row in chart)]
    if not beside:
        return [*rows, Content(""), *figures][:height]
    for at, figure in enumerate(figures):
        if at + 1 < len(rows):
            rows[at + 1] = join(rows[at + 1], "  ", figure)
    return rows


def waiting_rows(words: str, height: int) -> list[Content]:
    """The same place while there is nothing to draw."""
    rows = [join(dim("lengths   "), dim(words))]
    return rows + [Content("")] * (max(1, height) - 1)


def _below(figures: list[Content], height: int) -> int:
    return len(figures) + 1 if height > len(figures) + 6 else 0


def _line(measured: LengthsMeasured, width: int) -> Content:
    limit = _limit(measured)
    columns = _columns(measured, LINE_BARS, limit)
    mark = min(LINE_BARS, round(measured.max_length / limit * LINE_BARS))
    bars = _row_of(columns, 0, 1)
    shown = join(
        (bars[:mark], WITHIN), (MARK if mark < LINE_BARS else "", TIGHT), (bars[mark:], TIGHT)
    )
    cut, length = measured.cut_rows, f"{measured.max_length:,}"
    pieces = [
        join(dim("lengths "), shown),
        ink(f"{cut:,} cut at {length}", TIGHT) if cut else dim(f"none cut at {length}"),
        join(dim("median "), ink(f"{measured.p50:,}")),
        join(dim("95% "), ink(f"{measured.p95:,}")),
        join(dim("longest "), ink(f"{measured.longest:,}")),
    ]
    if not measured.done:
        pieces.insert(1, _progress(measured))
    return fitting(pieces, width, "  ")


def _title(measured: LengthsMeasured, width: int) -> Content:
    row = join(dim("lengths   "), ink(f"{measured.rows:,}"), dim(" rows"))
    whole = measured.of_rows is not None and measured.rows >= measured.of_rows
    if not whole and measured.of_rows is not None:
        row = join(row, dim(f" of {measured.of_rows:,}, spread over all"))
    row = join(row, dim(", in tokens"))
    return join(row, "   ", _progress(measured)) if not measured.done else row


def _progress(measured: LengthsMeasured) -> Content:
    share = measured.rows / measured.of_rows if measured.of_rows else None
    return join(("● ", ACCENT), dim("measuring "), bar(share, 12))


def _figures(measured: LengthsMeasured) -> list[Content]:
    """Two columns of `FIGURES` cells together, and what would mend it below."""
    rows, cut = measured.rows, measured.cut_rows
    found = [
        _pair(
            ("median", ink(f"{measured.p50:,}"), Content("")),
            ("95% below", ink(f"{measured.p95:,}")),
        ),
        _pair(
            ("longest", ink(f"{measured.longest:,}"), Content("")),
            ("mean", ink(f"{measured.mean:,.0f}")),
        ),
        _pair(
            ("rows cut", ink(count(cut), TIGHT if cut else BRIGHT), _share(cut, rows)),
            ("tokens lost", _share(measured.cut_tokens, measured.tokens)),
        ),
        _pair(
            ("padding", _share(measured.padded_share, 1), Content("")),
            ("if packed", _share(measured.packed_share, 1)),
        ),
    ]
    if (length := lossless(measured)) is None:
        found.append(ink("✓ nothing is cut", GOOD))
    else:
        about = "" if rows == measured.of_rows else "about "
        words = dim(f"nothing is lost at {about}")
        found.append(join(words, ink(f"{length:,}"), ("   m", STRONG), dim(" sets it")))
    if measured.untrained_rows:
        found.append(ink(f"! {measured.untrained_rows:,} rows keep no trained token", TIGHT))
    return found


def _pair(one: tuple[str, Content, Content], other: tuple[str, Content]) -> Content:
    return join(
        left(dim(one[0]), 10),
        right(one[1], 8),
        right(one[2], 7),
        "    ",
        left(dim(other[0]), 12),
        right(other[1], 7),
    )


def _share(part: float | None, whole: float) -> Content:
    """A share in per cent; under a tenth of one it is not shown as none."""
    if part is None or not whole:
        return dim(UNKNOWN)
    percent = 100 * part / whole
    if percent and percent < 0.1:
        return dim("<0.1%")
    return dim(f"{percent:.0f}%" if percent >= 10 or not percent else f"{percent:.1f}%")


def _limit(measured: LengthsMeasured) -> int:
    """Where the axis ends: at the longest row, unless a few rows are far longer than the rest."""
    limit = min(measured.longest, 3 * max(8, measured.p95))
    # A bucket that ends behind the axis would stand too tall.
    limit = next((edge for edge in measured.edges if edge > limit), limit)
    if measured.max_length <= 2 * limit:
        limit = max(limit, math.ceil(measured.max_length * 1.06))
    return max(8, limit)


def _columns(measured: LengthsMeasured, width: int, limit: int) -> list[float]:
    """The rows in each of `width` columns, those behind the axis in the last."""
    found = [0.0] * width
    per_column = limit / width
    edges = measured.edges
    for at, rows in enumerate(measured.lengths):
        if not rows or at + 1 >= len(edges):
            continue
        start = edges[at] / per_column
        if start >= width:
            found[-1] += rows
            continue
        end = min(float(width), max(edges[at + 1], edges[at] + 1) / per_column)
        for column in range(int(start), math.ceil(end)):
            share = min(end, column + 1) - max(start, column)
            found[column] += rows * share / (end - start)
    return found


def _row_of(columns: Sequence[float], row: int, height: int) -> str:
    """One row of bars, the lowest is 0; a column with any row at all shows."""
    highest = max(columns, default=0.0) or 1.0
    cells = []
    for value in columns:
        eighths = round(value / highest * height * 8)
        if value > 0.01 and eighths == 0:
            eighths = 1
        cells.append(GLYPHS[min(8, max(0, eighths - row * 8))])
    return "".join(cells)


def _chart(measured: LengthsMeasured, width: int, height: int) -> list[Content]:
    """Bars over an axis, with max length as an upright line where it stands."""
    limit = _limit(measured)
    columns = _columns(measured, width, limit)
    mark = round(measured.max_length / limit * width)
    rows = []
    for row in range(height - 1, -1, -1):
        bars = _row_of(columns, row, height)
        if mark < width:
            before, behind = bars[:mark], bars[mark + 1 :]
            rows.append(join((before, WITHIN), (MARK, TIGHT), (behind, TIGHT)))
        else:
            rows.append(ink(bars, WITHIN))
    return [*rows, _axis(measured, width, limit, mark), _ticks(measured, width, limit, mark)]


def _axis(measured: LengthsMeasured, width: int, limit: int, mark: int) -> Content:
    line = ["─"] * width
    for at, _ in _tick_places(width, limit):
        line[at] = "┴"
    if mark < width:
        line[mark] = "┼"
    if measured.longest > limit:
        line[-1] = "›"
    return ink("".join(line), FAINT)


def _ticks(measured: LengthsMeasured, width: int, limit: int, mark: int) -> Content:
    """Figures below the axis; that of max length before all others."""
    cells = [" "] * width
    behind = mark >= width
    words = f"max length {measured.max_length:,}" + (" ›" if behind else "")
    start = min(max(0, mark - len(words) // 2), width - len(words))
    for at, value in _tick_places(width, limit):
        text = f"{value:,}"
        begin = min(max(0, at - len(text) // 2), width - len(text))
        if begin + len(text) < start or begin > start + len(words):
            cells[begin : begin + len(text)] = text
    row = "".join(cells)
    style = TIGHT if measured.cut_rows else DIM
    return join((row[:start], DIM), (words, style), (row[start + len(words) :], DIM))


def _tick_places(width: int, limit: int) -> list[tuple[int, int]]:
    step = _round_step(limit / max(2, width // 16))
    return [
        (min(width - 1, round(value / limit * width)), value)
        for value in range(0, limit + 1, step)
        if round(value / limit * width) < width
    ]


def _round_step(rough: float) -> int:
    """The next of 8, 16, 32, 64, ...: lengths are thought of in powers of two."""
    return int(2 ** math.ceil(math.log2(max(8.0, rough))))
