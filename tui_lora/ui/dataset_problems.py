"""A check of a whole dataset in words: how far it is, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import duration, one_line
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    bar,
    dim,
    fitting,
    ink,
    join,
    right,
)
from tui_lora.ui.widgets.table import Column, Row

if TYPE_CHECKING:
    from tui_lora.core.check import Checked, CheckProgressed, RowProblem

COLUMNS = (
    Column("", 1),
    Column("row", 9, numeric=True),
    Column("where", 26, middle=True),
    Column("field", 24, from_width=100, middle=True),
    Column("what is wrong", 0),
)
MOST_KINDS = 6
MOST_LABELS = 12


def progress_row(told: CheckProgressed | None, width: int) -> Content:
    """`● checking ━━━╸────  41%   3,120 rows   12 problems`."""
    if told is None:
        return join(("● ", ACCENT), dim("starting the check …"))
    share = told.done / told.total if told.total else None
    percent = "" if share is None else f"{100 * min(1.0, share):3.0f}%"
    pieces = [
        join(("● ", ACCENT), dim("checking  "), bar(share, 24), ink(f"  {percent}")),
        join(right(ink(f"{told.rows:,}"), 11), dim(" rows")),
        join(ink(f"{told.problems:,}", TIGHT if told.problems else BRIGHT), dim(" problems")),
        join(("Esc", STRONG), dim(" leaves off")),
    ]
    return fitting(pieces, width)


def head_row(checked: Checked, width: int) -> Content:
    """What came of it, in one row."""
    out = checked.rows - checked.usable_rows
    kept = sum(checked.kinds.values()) - out
    usable = checked.usable_rows
    pieces = [
        join(ink(f"{checked.rows:,}"), dim(f" rows checked in {duration(checked.seconds)}")),
        join(ink(f"{usable:,}", BRIGHT if usable else WRONG), dim(" can be learned from")),
    ]
    if out:
        pieces.append(join(ink(f"✗ {out:,}", WRONG), dim(" left out")))
    if kept > 0:
        pieces.append(join(ink(f"! {kept:,}", TIGHT), dim(" more worth knowing")))
    if not checked.kinds:
        pieces.append(ink("✓ nothing is wrong", GOOD))
    return fitting(pieces, width)


def kind_rows(checked: Checked, width: int) -> list[Content]:
    """How often each thing is wrong, what else was counted, and the labels."""
    kinds = sorted(checked.kinds.items(), key=lambda kind: -kind[1])
    rows = [
        join(right(ink(f"{many:,}"), 9), "  ", ink(one_line(what)))
        for what, many in kinds[:MOST_KINDS]
    ]
    if len(kinds) > MOST_KINDS:
        rows.append(join(" " * 11, dim(f"and {len(kinds) - MOST_KINDS} more kinds")))
    facts = []
    if checked.duplicates is not None:
        facts.append(join(dim("duplicates "), ink(f"{checked.duplicates:,}")))
    if checked.held_out_rows is not None:
        facts.append(join(dim("held out "), ink(f"{checked.held_out_rows:,}")))
    if checked.also_held_out is not None:
        style = TIGHT if checked.also_held_out else BRIGHT
        facts.append(
            join(dim("trained on and held out "), ink(f"{checked.also_held_out:,}", style))
        )
    if facts:
        rows.append(fitting(facts, width))
    if checked.labels:
        rows.append(label_row(checked, width))
    return rows


def label_row(checked: Checked, width: int) -> Content:
    """`labels 2   positive 3,000   negative 2,900`."""
    labels = sorted(checked.labels.items(), key=lambda label: -label[1])
    pieces = [join(dim("labels "), ink(f"{len(labels):,}"))]
    pieces += [
        join(dim(f"{one_line(name, max_chars=40)} "), ink(f"{many:,}"))
        for name, many in labels[:MOST_LABELS]
    ]
    return fitting(pieces, width)


def problem_table(problems: Sequence[RowProblem]) -> list[Row]:
    """The rows of the list; each key is its place in it."""
    return [
        Row(
            str(at),
            (
                join(("✗", WRONG) if problem.left_out else ("!", TIGHT)),
                ink(f"{problem.row + 1:,}"),
                dim(place_of(problem)),
                ink(one_line(problem.field)),
                ink(one_line(problem.message), BRIGHT if problem.left_out else DIM),
            ),
        )
        for at, problem in enumerate(problems)
    ]


def place_of(problem: RowProblem) -> str:
    """`train.jsonl:41`."""
    name = one_line(problem.file.rpartition("/")[2])
    return f"{name}:{problem.line}" if problem.line else name


def sentence_of(problem: RowProblem) -> str:
    """What is wrong with a row, as it stands above it."""
    field = f"{problem.field}: " if problem.field else ""
    out = "" if problem.left_out else " (it is trained on all the same)"
    return one_line(f"{field}{problem.message}{out}")


def foot_rows(checked: Checked) -> list[Content]:
    """Where all the problems are, when the list has only the first."""
    all_of_them = sum(checked.kinds.values())
    if checked.listed_in:
        return [join(dim("all listed in "), ink(one_line(checked.listed_in)))]
    if all_of_them > len(checked.problems):
        first = f"the first {len(checked.problems):,} of {all_of_them:,}; "
        return [join(dim(first), ("w", STRONG), dim(" writes them all"))]
    return []
