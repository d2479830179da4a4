"""Datasets in words and figures: the list of them, and what a look at one found."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, one_line, size
from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    STRONG,
    TIGHT,
    WRONG,
    dim,
    fitting,
    ink,
    join,
    left,
)
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.table import Column, Row

if TYPE_CHECKING:
    from tui_lora.core.errors import Problem
    from tui_lora.store.dataset import Look
    from tui_lora.store.dataset_list import DatasetEntry

COLUMNS = (
    Column("", 1),
    Column("dataset", 0, middle=True),
    Column("size", 8, numeric=True),
    Column("", 17),
    Column("changed", 8, numeric=True, from_width=70),
)
SOURCES = {
    "shipped": "comes with it",
    "chosen": "typed",
    "used": "used by a run",
    "here": "in this folder",
}
LABEL = 10
PROBLEMS_SHOWN = 300


def dataset_row(entry: DatasetEntry, *, chosen: bool) -> Row:
    style = STRONG if chosen else BRIGHT if entry.is_there else DIM
    mark = ("●", ACCENT) if chosen else ("✗", WRONG) if not entry.is_there else (" ", DIM)
    name = one_line("/".join(PurePath(entry.path).parts[-2:]))
    shipped = entry.source == "shipped"
    return Row(
        entry.path,
        (
            join(mark),
            ink(name, style),
            ink(size(entry.size_bytes), style),
            dim(SOURCES[entry.source] if entry.is_there else "not there"),
            dim(UNKNOWN if shipped else _day(entry.changed)),
        ),
    )


def look_rows(seen: Look, name: str, held_out: str, width: int, *, tall: bool) -> list[Content]:
    """What a look at the file found: format and reason, counts, columns, the first problem."""
    bad = seen.rows - seen.usable_rows
    usable = dim("all usable")
    if bad:
        usable = join(ink(f"! {bad:,} cannot be used", TIGHT), ("  e", STRONG), dim(" lists them"))
    if not seen.usable_rows:
        usable = ink("✗ none can be used", WRONG)
    number = join(dim("" if seen.complete else "the first "), ink(f"{seen.rows:,}"))
    columns = one_line(", ".join(seen.columns), max_chars=200) or UNKNOWN
    format = {"messages": "messages", "prompt_completion": "prompt, completion"}.get(
        seen.format or "", "✗ unknown"
    )
    known = ink(format, BRIGHT if seen.format else WRONG)
    reason = one_line(seen.reason)
    if tall:
        rows = [
            *_fact("rows", join(number, "   ", usable), width),
            *_fact("format", known, width),
            *_fact("", dim(reason), width),
            *_fact("columns", ink(columns), width),
            *_fact("held-out", ink(held_out), width),
        ]
    else:
        rows = [
            fitting([ink(name, STRONG), join(number, dim(" rows  "), usable), known], width),
            join(dim("held-out "), ink(held_out), dim("   columns "), ink(columns)),
        ]
        if seen.format is None:
            rows.insert(1, ink(f"✗ {reason}", WRONG))
    return rows + [problem_row(problem, name) for problem in seen.problems[:1]]


def held_out_words(draft: Draft) -> str:
    """Which rows the draft keeps from training."""
    from tui_lora.core.fields import get

    if path := drafted_text(draft, "dataset.eval_path"):
        return file_name(path)
    share = get(draft.data, "dataset.eval_share")
    if not isinstance(share, int | float) or not share:
        return "nothing" if share == 0 else one_line(str(share))
    return f"{share:.0%} of the rows, taken at random"


def problem_rows(seen: Look, name: str) -> list[Content]:
    """The first rows that are no use, and how many more there are."""
    rows = [problem_row(problem, name) for problem in seen.problems[:PROBLEMS_SHOWN]]
    more = seen.rows - seen.usable_rows - len(rows)
    return [*rows, dim(f"… and {more:,} more")] if more > 0 else rows


def problem_row(problem: Problem, name: str) -> Content:
    """`train.jsonl:41  messages[1].role: unknown role`."""
    line = f":{problem.line}" if problem.line else ""
    return join(
        ink("! ", TIGHT), ink(f"{one_line(name)}{line}"), dim(f"  {one_line(str(problem))}")
    )


def file_name(path: str) -> str:
    """A dataset by its last part; one that we ship by its name."""
    return one_line(PurePath(path).name or path)


def _fact(label: str, value: Content, width: int) -> list[Content]:
    """A label and what is to be said of it, which stays in its column."""
    lines = value.wrap(max(10, width - LABEL))[:3]
    labels = [label] + [""] * (len(lines) - 1)
    return [join(left(dim(at), LABEL), line) for at, line in zip(labels, lines, strict=True)]


def _day(when: float | None) -> str:
    if when is None:
        return UNKNOWN
    then, now = time.localtime(when), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b" if then.tm_year == now.tm_year else "%b %Y", then)
