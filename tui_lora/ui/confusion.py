"""Which labels were taken for which: a table of few, the most confused pairs of many."""

from __future__ import annotations

from typing import Protocol

from textual.content import Content

from tui_lora.core.class_report import ClassReport
from tui_lora.core.text import one_line, shorten_middle
from tui_lora.ui.ink import BRIGHT, FAINT, GOOD, STRONG, TIGHT, dim, ink, join, left, right

TABLE_LABELS = 10
PAIRS = 12
NAME_AT_MOST = 24
FOUND = 9
CELL_AT_LEAST = 4
CELL_AT_MOST = 12
NAMED_FROM = 7
"""A column too narrow for this many letters of its label is called by its number."""


class Confused(Protocol):
    """`confusion[true][predicted]` counts rows, in the order of the labels."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]: ...


def confusion_rows(report: ClassReport, width: int) -> list[Content]:
    """The last measurement of the run itself, in `width` cells."""
    return table_rows(report, f"{report.rows:,} held-out rows at step {report.step:,}", width)


def table_rows(report: Confused, of: str, width: int) -> list[Content]:
    """The table in `width` cells; `of` says which rows it counts."""
    head = dim(f"taken for which label   {of}").truncate(width, ellipsis=True)
    if 0 < len(report.labels) <= TABLE_LABELS and (table := _table(report, width)):
        return [head, *table]
    return [head, *_pairs(report, width)]


def _table(report: Confused, width: int) -> list[Content]:
    """A row for each true label; nothing where the counts have no room beside each other."""
    labels = [one_line(label) or "(empty)" for label in report.labels]
    count = len(labels)
    longest = max(len(label) for label in labels)
    name = min(NAME_AT_MOST, longest, max(8, width // 5))
    digits = max(len(f"{n:,}") for row in report.confusion for n in row)
    room = (width - 2 - name - 4 - FOUND) // count - 2
    cell = max(CELL_AT_LEAST, digits, min(CELL_AT_MOST, room, longest))
    if cell > room:
        return []
    numbered = any(len(label) > cell for label in labels) and cell < NAMED_FROM
    heads = [str(at) if numbered else shorten_middle(label, cell) for at, label in _counted(labels)]
    lead = f"{'':<{name + 4 if numbered else name}}"
    rows = [
        join(
            "  ",
            dim(f"{'true':<{len(lead)}}"),
            *(join("  ", right(dim(head), cell)) for head in heads),
            right(dim("found"), FOUND),
        )
    ]
    for at, label in _counted(labels):
        counts = report.confusion[at - 1]
        shown = shorten_middle(label, name)
        cells = [_cell(n, cell, right_one=at - 1 == to) for to, n in enumerate(counts)]
        total = sum(counts)
        found = f"{100 * counts[at - 1] / total:.0f}%" if total else "—"
        number = dim(f"{at:>2}  ") if numbered else Content("")
        row = join("  ", number, left(ink(shown), name), *cells, right(dim(found), FOUND))
        rows.append(row)
    return rows


def _counted(labels: list[str]) -> list[tuple[int, str]]:
    return list(enumerate(labels, start=1))


def _cell(count: int, width: int, *, right_one: bool) -> Content:
    """The diagonal is bright; nothing is a dot, so that what is wrong stands out."""
    style = STRONG if right_one else BRIGHT if count else FAINT
    text = f"{count:,}" if count or right_one else "·"
    return join("  ", right(ink(text, style), width))


def _pairs(report: Confused, width: int) -> list[Content]:
    found = sorted(
        (
            (count, true, to)
            for true, counts in enumerate(report.confusion)
            for to, count in enumerate(counts)
            if count and to != true
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    if not found:
        return [join("  ", ink("✓ no row was taken for another label", GOOD))]
    labels = [one_line(label) or "(empty)" for label in report.labels]
    room = max(8, min(NAME_AT_MOST, (width - 30) // 2))
    rows = [join("  ", left(dim("true"), room + 4), left(dim("taken for"), room), dim("   rows"))]
    for count, true, to in found[:PAIRS]:
        of = sum(report.confusion[true])
        rows.append(
            join(
                "  ",
                left(ink(shorten_middle(labels[true], room)), room),
                dim("  → "),
                left(ink(shorten_middle(labels[to], room), TIGHT), room),
                right(ink(f"{count:,}"), 7),
                dim(f" of {of:,}"),
            )
        )
    wrong = sum(count for count, _, _ in found)
    if len(found) > PAIRS:
        rest = wrong - sum(count for count, _, _ in found[:PAIRS])
        rows.append(dim(f"  and {len(found) - PAIRS:,} more pairs ({rest:,} rows)"))
    return rows
