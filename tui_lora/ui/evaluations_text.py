"""Evaluations that are kept as a list, and two of them beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui_lora.core.evaluation import Evaluation, Figure
from tui_lora.core.evaluation_sides import Sides
from tui_lora.core.text import UNKNOWN, duration, number, one_line
from tui_lora.store.evaluations import Kept
from tui_lora.ui.evaluation_text import (
    CHANCE,
    NOTHING_SEEN,
    of_which,
    p_words,
    when,
    written,
)
from tui_lora.ui.ink import ACCENT, BRIGHT, GOOD, STRONG, TIGHT, WRONG, dim, ink, join
from tui_lora.ui.widgets.table import Column, Row

COLUMNS = (
    Column("", 1),
    Column("when", 12),
    Column("of", 27),
    Column("perplexity", 22, numeric=True),
    Column("first metric", 30, from_width=100),
    Column("rows", 8, numeric=True, from_width=96),
    Column("on", 0),
)
SIDES = (
    Column("", 18),
    Column("base", 8, numeric=True),
    Column("left", 8, numeric=True),
    Column("", 16, from_width=118),
    Column("right", 8, numeric=True),
    Column("", 16, from_width=118),
    Column("right against left", 0),
)


def list_row(kept: Kept, *, shown: bool, marked: bool) -> Row:
    found = kept.evaluation
    mark = ink("▸", ACCENT) if marked else ink("●", ACCENT) if shown else Content(" ")
    rows = sum(part.rows for part in found.parts) or (found.answers.rows if found.answers else 0)
    where = one_line(found.device)
    if found.test_file:
        where = f"{where} · {one_line(found.test_file)}"
    if not found.complete:
        where = f"! did not end · {where}"
    return Row(
        str(kept.path),
        (
            mark,
            ink(when(found)),
            ink(_which(kept).removeprefix("an "), TIGHT if kept.earlier else BRIGHT),
            _perplexity(found),
            _first_metric(found),
            dim(f"{rows:,}"),
            dim(where),
        ),
    )


def detail_rows(kept: Kept, marked: Kept | None) -> list[Content]:
    found = kept.evaluation
    stored = found.dtype if found.quantization == "none" else found.quantization
    first = join(
        ink(_which(kept), STRONG),
        dim(f"   {one_line(found.model)}, {stored}   seed {found.seed}   took "),
        ink(duration(found.seconds)),
    )
    second = dim("m marks one, to compare another with it")
    if marked is not None and marked.path != kept.path:
        other = marked.evaluation
        second = join(dim("c compares it with "), ink(f"{_which(marked)} of {when(other)}"))
    elif marked is not None:
        second = dim("marked; go to another and press c, or m again to leave it")
    return [first, second]


def side_rows(found: Sequence[Sides]) -> list[Row]:
    return [_side_row(one) for one in found]


def _side_row(one: Sides) -> Row:
    def write(value: float | None) -> str:
        if value is None:
            return UNKNOWN
        return f"{100 * value:.1f}%" if one.unit == "share" else number(value)

    def around(figure: Figure) -> Content:
        if figure.low is None or figure.high is None:
            return dim("")
        return dim(f"{write(figure.low)} to {write(figure.high)}")

    return Row(
        one.name,
        (
            ink(one_line(one.label)),
            dim(write(one.base)),
            ink(write(one.left.value)),
            around(one.left),
            ink(write(one.right.value), STRONG),
            around(one.right),
            _verdict(one),
        ),
    )


def _verdict(one: Sides) -> Content:
    if one.p is None:
        return dim(UNKNOWN)
    said = f"p {p_words(one.p)}"
    if one.p >= CHANCE:
        return dim(f"not shown to differ, {said}")
    return ink(f"better, {said}", GOOD) if one.better > one.worse else ink(f"worse, {said}", WRONG)


def side_words(one: Sides | None) -> list[Content]:
    """What is to be known of a figure of both, in full."""
    if one is None:
        return []
    label = one_line(one.label)
    if one.p is None:
        return [dim(f"{label}: no row was measured by both, so there is no test")]
    of = f"{label}: of the rows that both measured {one.better:,} are better to the right one"
    test = f"{one.worse:,} are worse; p {p_words(one.p)}, exact test of signs"
    rows = [join(dim(of), dim(", "), dim(test))]
    return [*rows, dim(NOTHING_SEEN)] if one.p >= CHANCE else rows


def alike_row(why: Sequence[str]) -> Content:
    if why:
        return ink(f"! not to be compared: they differ in {', '.join(why)}", TIGHT)
    return dim("the same base, rows and settings")


def side_head(name: str, kept: Kept) -> Content:
    return join(dim(f"{name:<7}"), ink(_which(kept), STRONG), dim(f"   {when(kept.evaluation)}"))


def _which(kept: Kept) -> str:
    return of_which(kept.evaluation, earlier=kept.earlier)


def _arrow(base: Figure, tuned: Figure) -> Content:
    return join(dim(f"{number(base.value)} → "), ink(number(tuned.value), STRONG))


def _perplexity(found: Evaluation) -> Content:
    """Of the held-out rows, or those of a file in their place; else of those trained on."""
    part = found.part("eval") or found.part("train")
    if part is None or part.tuned.perplexity.value is None:
        return dim(UNKNOWN)
    named = found.called(part.part).removesuffix(" rows")
    return join(dim(f"{named} "), _arrow(part.base.perplexity, part.tuned.perplexity))


def _first_metric(found: Evaluation) -> Content:
    if not found.metrics:
        return dim(UNKNOWN)
    metric = found.metrics[0]
    write = written(metric)
    values = [
        UNKNOWN if one.value is None else write(one.value) for one in (metric.base, metric.tuned)
    ]
    return join(
        dim(f"{one_line(metric.label, max_chars=12)} {values[0]} → "), ink(values[1], STRONG)
    )
