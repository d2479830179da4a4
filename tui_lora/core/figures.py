"""What can be looked at and saved: curves, a heat map, a table. Screens and files draw from these.

Numbers stay numbers until somebody writes them, an unknown one is None; texts are clean.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tui_lora.core.text import UNKNOWN, number, one_line

Value = str | int | float | None

FORMATS = ("svg", "png", "csv", "md")
Format = Literal["svg", "png", "csv", "md"]


@dataclass(frozen=True)
class TableData:
    """Rows under `columns`, whose names carry their units. `note` says what the figures are."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """Points in the order of x. `marked`: few values, each with a mark of its own."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    marked: bool = False


@dataclass(frozen=True)
class Curves:
    """`x` and `y` name the axes with their units; `note` says what was done to the figures."""

    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    log_y: bool = False
    note: str = ""


@dataclass(frozen=True)
class Heat:
    """`values[row][column]`, None where there is none; `legend` names what they are."""

    title: str
    legend: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    note: str = ""
    counts: bool = False
    """Whether the numbers are counts, to be read in each cell."""


Figure = Curves | Heat | TableData


def as_table(figure: Figure) -> TableData:
    """The figure's numbers: of curves a row for each point, of a heat map one for each row."""
    match figure:
        case TableData():
            return figure
        case Curves():
            rows = tuple(
                (curve.label, x, y)
                for curve in figure.curves
                for x, y in zip(curve.x, curve.y, strict=True)
            )
            return TableData(figure.title, ("curve", figure.x, figure.y), rows, figure.note)
        case Heat():
            heat_rows = tuple(
                (name, *values) for name, values in zip(figure.rows, figure.values, strict=True)
            )
            corner = f"{figure.y} / {figure.x}"
            note = ". ".join(part for part in (figure.legend, figure.note) if part)
            return TableData(figure.title, (corner, *figure.columns), heat_rows, note)


def as_csv(figure: Figure) -> str:
    """RFC 4180 with a head of names and every figure in full; what is unknown is empty. A text that
    a spreadsheet would take for a formula has a quote before it."""
    table = as_table(figure)
    out = _Text()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_harmless(name) for name in table.columns])
    writer.writerows([_csv_cell(value) for value in row] for row in table.rows)
    return "".join(out.parts)


class _Text:
    """What csv writes into."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


def as_markdown(figure: Figure) -> str:
    """A table of GitHub's Markdown in three figures, under its title and above its note."""
    table = as_table(figure)
    lines = [f"**{_literal(table.title)}**", "", *markdown_rows(table.columns, table.rows)]
    if table.note:
        lines += ["", _literal(table.note)]
    return "\n".join(lines) + "\n"


def markdown_rows(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> Iterator[str]:
    """The lines of a table; columns of numbers stand at the right."""
    yield f"| {' | '.join(_literal(name) for name in columns)} |"
    sides = []
    for at in range(len(columns)):
        cells = [row[at] for row in rows if row[at] is not None]
        sides.append("---:" if cells and not any(isinstance(c, str) for c in cells) else "---")
    yield f"| {' | '.join(sides)} |"
    for row in rows:
        yield f"| {' | '.join(_literal(told(value)) for value in row)} |"


def told(value: Value) -> str:
    """A cell as people read it."""
    if isinstance(value, str):
        return one_line(value)
    if value is None:
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) else number(value)


def _csv_cell(value: Value) -> str:
    if value is None:
        return ""
    return _harmless(value) if isinstance(value, str) else repr(value)


def _harmless(text: str) -> str:
    text = one_line(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _literal(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#~" else c for c in one_line(text))
