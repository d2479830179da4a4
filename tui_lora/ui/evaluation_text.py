"""What an evaluation found, in rows: base against tuned, each with its interval, and in words
whether that is more than chance."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass

from textual.content import Content

from tui_lora.core.evaluation import Evaluation, Figure, MetricReport, PartReport
from tui_lora.core.evaluation_lost import lost_of_metric, lost_of_part
from tui_lora.core.significance import LEVEL
from tui_lora.core.text import UNKNOWN, duration, number, one_line, shorten_middle
from tui_lora.store.evaluations import Kept, Unfinished
from tui_lora.ui.confusion import table_rows
from tui_lora.ui.evaluating_text import unfinished_words
from tui_lora.ui.ink import (
    BRIGHT,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    dim,
    fitting,
    ink,
    join,
    left,
    right,
)

LABEL = 13
FIGURE = 7
INTERVAL = 14
"""At least; all are as wide as the longest."""
CHANGE = 16
CHANCE = 0.05
"""A p below it is called a difference."""
ENOUGH = 6
"""Rows from which on they could not all be better by a fair coin (p below 0.05)."""
NOTHING_SEEN = "no difference that this many rows could show"


@dataclass(frozen=True)
class _Told:
    """A row of figures: how each is written, and what is said below; `lost` is what the figures
    leave out."""

    label: str
    base: Figure
    tuned: Figure
    change: Content
    between: str
    write: Callable[[float], str]
    verdict: Content
    notes: tuple[str, ...]
    lost: str = ""


@dataclass(frozen=True)
class _Taken:
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]


def of_which(found: Evaluation, *, earlier: bool = False) -> str:
    """What was measured; `earlier`: there is another adapter in its place by now."""
    at = f", step {found.adapter_step:,}" if found.adapter_step is not None else ""
    if found.step is not None:
        return f"{'an earlier ' if earlier else ''}checkpoint at step {found.step:,}"
    return f"{'an earlier' if earlier else 'the'} adapter{at}"


def named(kept: Kept) -> str:
    """Which evaluation it is: `the adapter, step 400, on held.jsonl, nf4 on cpu, 22 Nov 20:15`."""
    found = kept.evaluation
    pieces = [of_which(found, earlier=kept.earlier), _stored(found), when(found)]
    if found.test_file:
        pieces.insert(1, f"on {one_line(found.test_file)}")
    return ", ".join(pieces)


def when(found: Evaluation) -> str:
    try:
        return time.strftime("%d %b %H:%M", time.localtime(found.t))
    except (OverflowError, OSError, ValueError):
        return UNKNOWN


def begin_rows(left: Unfinished | None, *, any_adapter: bool) -> list[Content]:
    """What can be begun, or gone on with."""
    if left is not None:
        keys = join(("v", STRONG), dim(" goes on   "), ("x", STRONG), dim(" drops it"))
        return [join(ink(f"! {unfinished_words(left)}", TIGHT), "   ", keys)]
    if not any_adapter:
        return [dim("there is no adapter to be measured: none was saved, and no checkpoint")]
    words = " measures base and tuned on the very same rows"
    return [join(dim("evaluation   "), ("v", STRONG), dim(words))]


def evaluation_rows(
    found: Evaluation, place: str, width: int, *, earlier: bool = False
) -> list[Content]:
    """All that a person wants to know of it, the most important first. `place` is it in what is
    kept, as `2 of 5`; `earlier` as in `of_which`."""
    rows = [_head(found, place, width, earlier=earlier)]
    if earlier:
        text = "! trained on since: these are no figures of the adapter that is there now"
        rows.append(ink(text, TIGHT).truncate(width, ellipsis=True))
    if not found.complete:
        text = "! it did not end: figures are of the rows that were measured, a sample of all"
        rows.append(ink(text, TIGHT))
    told = [
        *(_of_part(part, found.called(part.part)) for part in found.parts),
        *map(_of_metric, found.metrics),
    ]
    if told:
        rows += _table(found, told, width)
    rows += _answered(found, width)
    for notice in found.notices:
        told_rows = textwrap.wrap(f"! {one_line(notice)}", width, subsequent_indent="  ")
        rows += [ink(row, TIGHT) for row in told_rows]
    tests = sum(metric.p is not None for metric in found.metrics)
    each = "; each p by itself, of several one is sooner small by chance" if tests > 1 else ""
    rows.append(dim(f"intervals are {LEVEL}{each}; base and tuned on the very same rows"))
    return rows


def taken_rows(found: Evaluation, width: int) -> list[Content]:
    """Of a classifier, which label the tuned model took for which; nothing of others."""
    classes = found.classes
    if classes is None:
        return []
    f1 = f"macro F1 {number(classes.base.macro_f1)} → {number(classes.tuned.macro_f1)}"
    taken = _Taken(classes.labels, classes.tuned.confusion)
    return table_rows(taken, f"{found.called(classes.part)}, tuned   {f1}", width)


def choice_rows(found: Evaluation, width: int) -> list[Content]:
    """What was chosen by itself, and why."""
    rows = []
    for choice in found.choices:
        words = f"{one_line(choice.setting)}: {one_line(choice.value)}"
        why = one_line(choice.reason)
        rows.append(join("  ", ink(words), dim(f"   {why}")).truncate(width, ellipsis=True))
    return [dim("chosen for the evaluation"), *rows] if rows else []


def _head(found: Evaluation, place: str, width: int, *, earlier: bool) -> Content:
    pieces = [
        join(dim("evaluation of "), ink(when(found), STRONG)),
        ink(of_which(found, earlier=earlier), TIGHT if earlier else BRIGHT),
        dim(_stored(found)),
        dim(f"took {duration(found.seconds)}"),
    ]
    if found.test_file:
        pieces.insert(2, join(dim("on "), ink(shorten_middle(one_line(found.test_file), 24))))
    if place:
        pieces.insert(2, dim(place))
    return fitting(pieces, width)


def _stored(found: Evaluation) -> str:
    stored = found.dtype if found.quantization == "none" else found.quantization
    return f"{one_line(stored)} on {one_line(found.device)}"


def _table(found: Evaluation, told: list[_Told], width: int) -> list[Content]:
    """Base and tuned with their intervals, and the change, with what is to be said of each below.
    A change that no row has room for beside them begins what is said below."""
    sides = [(one, side) for one in told for side in (one.base, one.tuned)]
    across = max(INTERVAL, *(len(_interval(side, one.write)) for one, side in sides))
    room = width - (2 + LABEL + 2 * (FIGURE + 1 + across) + 4)
    beside = max(one.change.cell_length for one in told) <= room
    wide = CHANGE + max(len(one.between) for one in told) <= room
    rows = [_titles(found, across)]
    for one in told:
        figures = join(
            "  ",
            left(ink(one.label), LABEL),
            *_cells(one.base, one.write, BRIGHT, across),
            "  ",
            *_cells(one.tuned, one.write, STRONG, across),
            "  ",
        )
        if wide:
            figures = join(figures, left(one.change, CHANGE), dim(one.between))
        elif beside:
            figures = join(figures, one.change)
        rows.append(figures)
        above = [one.change] if one.change.plain and not beside else []
        verdict = one.verdict.truncate(
            width - 4 - sum(len(piece) + 3 for piece in above), ellipsis=True
        )
        below = [*above, verdict, *(dim(note) for note in one.notes)]
        rows.append(join("    ", fitting(below, width - 4)))
        if one.lost:
            rows.append(ink(f"    ! {one.lost}", TIGHT).truncate(width, ellipsis=True))
    return rows


def _titles(found: Evaluation, across: int) -> Content:
    by_rows = any(part.counted_by == "rows" for part in found.parts)
    what = "" if not found.parts else "loss a row" if by_rows else "perplexity"
    base = join(right(dim("base"), FIGURE), " " * (across + 3))
    return join(left(dim(what), LABEL + 2), base, right(dim("tuned"), FIGURE))


def _cells(
    figure: Figure, write: Callable[[float], str], look: str, across: int
) -> tuple[Content | str, ...]:
    value = write(figure.value) if figure.value is not None else UNKNOWN
    return right(ink(value, look), FIGURE), " ", left(dim(_interval(figure, write)), across)


def _interval(figure: Figure, write: Callable[[float], str]) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{write(figure.low)} to {write(figure.high)}".replace("%", "")


# -- losses ---------------------------------------------------------------------------------------


def _of_part(part: PartReport, label: str) -> _Told:
    by_rows = part.counted_by == "rows"
    base, tuned = (one.loss if by_rows else one.perplexity for one in (part.base, part.tuned))
    of = f" of {part.of:,}" if part.of != part.rows else ""
    notes = [f"{part.rows:,}{of} {part.unit}"]
    if not by_rows:
        notes.append(f"{part.tokens:,} tokens")
    notes.append(f"{part.improved:,} better, {part.worsened:,} worse")
    return _Told(
        label,
        base,
        tuned,
        _change(part, by_rows=by_rows),
        _between(part.change, None if by_rows else math.expm1),
        number,
        _verdict(part),
        tuple(notes),
        lost_of_part(part),
    )


def _change(part: PartReport, *, by_rows: bool) -> Content:
    """Of perplexity by how many per cent it is another: exp(change of the loss) - 1."""
    value = part.change.value
    if value is None or not math.isfinite(value) or value > 700:
        return dim(UNKNOWN)
    if not by_rows:
        percent = 100 * math.expm1(value)
        if abs(percent) < 0.05:
            return dim("the same")
        look, mark = (GOOD, "▼") if percent < 0 else (WRONG, "▲")
        return ink(f"{mark} {abs(percent):.1f}%", look)
    if abs(value) < 5e-4:
        return dim("the same")
    return ink(f"{'▼' if value < 0 else '▲'} {number(abs(value))}", GOOD if value < 0 else WRONG)


def _between(change: Figure, share: Callable[[float], float] | None) -> str:
    """The interval of a change; in per cent (or points) of what `share` makes of it."""
    if change.low is None or change.high is None or change.high > 700:
        return ""
    if share is None:
        return f"{_signed(number(change.low))} to {_signed(number(change.high))}"
    low, high = (f"{100 * share(value):.1f}" for value in (change.low, change.high))
    return f"{_signed(low)} to {_signed(high)}"


def _signed(written: str) -> str:
    return written if written.startswith("-") or not written.strip("0.") else f"+{written}"


def _verdict(part: PartReport) -> Content:
    """By the interval of the change over the same rows, which is narrower than the two beside."""
    low, high = part.change.low, part.change.high
    if low is None or high is None or part.rows < ENOUGH:
        return dim("too few rows to tell")
    general = part.part == "general"
    if high < 0:
        return ink("better than before" if general else "better", GOOD)
    if low > 0:
        return ink("it forgot: general text is less likely to it" if general else "worse", WRONG)
    return dim("nothing forgotten that this text could show" if general else NOTHING_SEEN)


# -- metrics --------------------------------------------------------------------------------------


def share_of(metric: MetricReport) -> bool:
    return metric.kind == "right" or metric.unit == "share"


def written(metric: MetricReport) -> Callable[[float], str]:
    """How a figure of a metric is written: shares as per cent."""
    return (lambda value: f"{100 * value:.1f}%") if share_of(metric) else number


def _of_metric(metric: MetricReport) -> _Told:
    notes = [f"{metric.rows:,} rows"]
    if metric.only_base is not None and metric.only_tuned is not None:
        notes.insert(0, f"right alone: base {metric.only_base:,}, tuned {metric.only_tuned:,}")
    notes.append(one_line(metric.why))
    change = dim("")
    if metric.change.value is not None:
        gained = metric.change.value
        size = f"{100 * abs(gained):.1f} points" if share_of(metric) else number(abs(gained))
        look, mark = (GOOD, "▲") if gained > 0 else (WRONG, "▼")
        change = ink(f"{mark} {size}", look) if abs(gained) > 5e-5 else dim("the same")
    return _Told(
        shorten_middle(one_line(metric.label), LABEL),
        metric.base,
        metric.tuned,
        change,
        _between(metric.change, None if not share_of(metric) else lambda value: value),
        written(metric),
        verdict_of(metric),
        tuple(notes),
        lost_of_metric(metric),
    )


def verdict_of(metric: MetricReport) -> Content:
    """`better, p 0.003, exact McNemar test`, or that nothing could be shown."""
    if metric.p is None:
        return dim("without a test") if metric.base.value is not None else dim("of the tuned alone")
    said = f"p {p_words(metric.p)}, {one_line(metric.test).removesuffix(' test')}"
    gained = metric.change.value or 0.0
    if metric.p >= CHANCE or not gained:
        return dim(f"{NOTHING_SEEN}, {said}")
    return ink(f"better, {said}", GOOD) if gained > 0 else ink(f"worse, {said}", WRONG)


def p_words(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def _answered(found: Evaluation, width: int) -> list[Content]:
    asked = found.answers
    if asked is None:
        return []
    of = f" of {asked.of:,}" if asked.of != asked.rows else ""
    most = f"at most {asked.max_new_tokens:,} tokens"
    told = f"    answers to {asked.rows:,}{of} rows, greedy, {most} · {one_line(asked.source)}"
    rows = [dim(told).truncate(width, ellipsis=True)]
    lost = []
    if asked.cut_base or asked.cut_tuned:
        lost.append(f"cut there: base {asked.cut_base:,}, tuned {asked.cut_tuned:,}")
    if asked.left_out:
        lost.append(f"{asked.left_out:,} left out: {one_line(asked.why_left_out)}")
    if lost:
        rows.append(ink(f"    ! {'; '.join(lost)}", TIGHT).truncate(width, ellipsis=True))
    return rows
