"""Datasets in words and figures: the list of them, and what a look at one found."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.fields import get
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
    from collections.abc import Sequence

    from tui_lora.core.errors import Problem
    from tui_lora.store.dataset_list import DatasetEntry
    from tui_lora.ui.dataset_facts import Seen

COLUMNS = (
    Column("", 1),
    Column("dataset", 0, middle=True),
    Column("size", 8, numeric=True),
    Column("", 14),
    Column("changed", 8, numeric=True, from_width=56),
)
SOURCES = {
    "shipped": "comes with it",
    "chosen": "typed",
    "used": "used by a run",
    "here": "in this folder",
    "cached": "Hub, cached",
}
LABEL = 10


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
            dim(_origin(entry)),
            dim(UNKNOWN if shipped else _day(entry.changed)),
        ),
    )


def _origin(entry: DatasetEntry) -> str:
    if not entry.is_there:
        return "not there"
    return f"{entry.files:,} files" if entry.files > 1 else SOURCES[entry.source]


def look_rows(seen: Seen, draft: Draft, width: int, *, tall: bool) -> list[Content]:
    """What a look at the dataset found: format and reason, task, counts, columns, splits."""
    task = one_line(str(get(draft.data, "task")))
    name = file_name(drafted_text(draft, "dataset.path"))
    held_out = held_out_words(draft)
    if tall:
        rows = [
            *_fact("format", join(format_words(seen), dim(f"   {seen.reason}")), width, most=4),
            *_fact("task", join(ink(task), dim(f"   {_about(task)}")), width),
            *_fact("rows", join(_rows(seen), "   ", _usable(seen), _mixed(draft)), width),
            *_fact("columns", _columns(seen), width, most=2),
            *_fact("splits", _splits(seen, draft), width),
            *_fact("held-out", ink(held_out), width),
        ]
    else:
        head = [ink(name, STRONG), join(_rows(seen), "  ", _usable(seen)), format_words(seen)]
        rows = [
            fitting([*head, join(dim("task "), ink(task))], width),
            join(dim("columns "), _columns(seen), dim("   held-out "), ink(held_out)),
        ]
        if seen.format is None:
            rows[1] = ink(f"✗ {one_line(seen.reason)}", WRONG)
    if seen.problems and seen.format is not None:
        rows.append(problem_row(seen.problems[0], name))
    elif seen.first_problem and seen.format is not None:
        rows.append(join(("! ", TIGHT), dim(one_line(seen.first_problem))))
    return rows


def format_words(seen: Seen) -> Content:
    """The name of a format as people know it."""
    if seen.format is None:
        return ink("✗ unknown", WRONG)
    from tui_lora.core.formats import format_of

    try:
        return ink(format_of(seen.format).title, STRONG)
    except KeyError:
        return ink(one_line(seen.format), STRONG)


def _about(task: str) -> str:
    from tui_lora.ui.dataset_task import WORDS

    return WORDS.get(task, "")


def _rows(seen: Seen) -> Content:
    if seen.total is not None:
        return join(ink(f"{seen.total:,}"), dim(" rows"))
    return join(dim("the first "), ink(f"{seen.rows:,}"), dim(" rows"))


def _usable(seen: Seen) -> Content:
    bad = seen.rows - seen.usable
    if seen.rows and not seen.usable:
        return ink("✗ none can be used", WRONG)
    if bad:
        return join(ink(f"! {bad:,} cannot be used", TIGHT), ("  e", STRONG), dim(" lists them"))
    return dim("all usable")


def _mixed(draft: Draft) -> Content:
    """What is learned from beside them."""
    mix = get(draft.data, "dataset.mix")
    names = [file_name(str(entry)) for entry in mix] if isinstance(mix, list | tuple) else []
    return dim(f"   and {', '.join(names)}") if names else Content("")


def _columns(seen: Seen) -> Content:
    """`question → prompt, answer → completion`, then those that play no part."""
    plays = {column: part for part, column in seen.parts.items()}
    pieces = []
    for column in sorted(seen.columns, key=lambda name: name not in plays):
        name, part = one_line(column, max_chars=40), plays.pop(column, "")
        arrow = f" → {part}" if part and part != column else ""
        pieces.append(join((name, BRIGHT if part or not seen.parts else DIM), dim(arrow)))
    # Templates of the user's own play a part without being a column.
    for template, part in plays.items():
        pieces.insert(0, join((one_line(template, max_chars=60), BRIGHT), dim(f" → {part}")))
    return Content(", ").join(pieces[:20]) if pieces else dim(UNKNOWN)


def _splits(seen: Seen, draft: Draft) -> Content:
    chosen = drafted_text(draft, "dataset.split") or ("train" if "train" in seen.splits else "")
    subset = drafted_text(draft, "dataset.subset")
    if not seen.splits and not seen.subsets:
        return dim("none of its own")
    names = [
        join(
            (one_line(name), STRONG if name == chosen else DIM),
            ("●" if name == chosen else "", ACCENT),
        )
        for name in seen.splits[:8]
    ]
    row = Content("  ").join(names)
    if seen.subsets:
        row = join(
            dim("subset "), ink(subset or "not chosen", BRIGHT if subset else TIGHT), "  ", row
        )
    several = len(seen.splits) > 1 or len(seen.subsets) > 1
    return join(row, ("   s", STRONG), dim(" chooses")) if several else row


def held_out_words(draft: Draft) -> str:
    """Which rows the draft keeps from training."""
    if path := drafted_text(draft, "dataset.eval_path"):
        return file_name(path)
    if split := drafted_text(draft, "dataset.eval_split"):
        return f"the split {one_line(split)}"
    share = get(draft.data, "dataset.eval_share")
    if not isinstance(share, int | float) or not share:
        return "nothing" if share == 0 else one_line(str(share))
    return f"{share:.0%} of the rows, taken at random"


def problem_row(problem: Problem, name: str) -> Content:
    """`train.jsonl:41  messages[1].role: unknown role`."""
    line = f":{problem.line}" if problem.line else ""
    return join(
        ink("! ", TIGHT), ink(f"{one_line(name)}{line}"), dim(f"  {one_line(str(problem))}")
    )


def file_name(path: str) -> str:
    """A dataset by its last part; one that we ship, or of the Hub, by its name."""
    if path and not path.startswith(("/", ".", "~")) and path.count("/") == 1:
        return one_line(path)
    return one_line(PurePath(path).name or path)


def problems_file(path: str) -> str:
    """Where the problems of a dataset are listed, unless one says otherwise."""
    name = PurePath(path.rstrip("/*")).name
    for _ in range(2):
        name = name.removesuffix(PurePath(name).suffix)
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)
    return f"./{kept.strip('.-') or 'dataset'}.problems.jsonl"


def splits_hint(splits: Sequence[str]) -> str:
    """What may be typed as the held-out part."""
    known = f", or a split of it: {', '.join(splits[:6])}" if splits else ""
    return f"A file of rows that are never trained on{known}. Empty: a share of the dataset."


def _fact(label: str, value: Content, width: int, most: int = 1) -> list[Content]:
    """A label and what is to be said of it, which stays in its column."""
    room = max(10, width - LABEL)
    lines = value.wrap(room)
    if len(lines) > most:
        lines = [*lines[: most - 1], value.truncate(room, ellipsis=True)][-most:]
    labels = [label] + [""] * (len(lines) - 1)
    return [join(left(dim(at), LABEL), line) for at, line in zip(labels, lines, strict=True)]


def _day(when: float | None) -> str:
    if when is None:
        return UNKNOWN
    then, now = time.localtime(when), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b" if then.tm_year == now.tm_year else "%b %Y", then)
