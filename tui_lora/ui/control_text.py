"""What was asked of a run and what comes of it, in words: pure functions to rows of `Content`."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from textual.content import Content

from tui_lora.core.control_words import ago, held_gib, on_card, ordered
from tui_lora.core.extension import Extension
from tui_lora.core.orders import Order
from tui_lora.core.schedule_shape import Course
from tui_lora.core.status import Status
from tui_lora.core.text import duration, number, one_line, rate
from tui_lora.core.view import RunView
from tui_lora.store.ladder import Ladder, Rung, patience
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
from tui_lora.ui.state import RunNow

LABEL = 9
SIGNAL = "signal"
"""Among what is `mine`: the last signal was sent from here."""


def control_row(
    run: RunNow, ladder: Ladder | None, mine: Collection[str], now: float, width: int
) -> Content:
    """What was asked of the run and is not done yet, or that it is held; empty where nothing is.

    `mine` are the ids of the orders that this viewer gave, and SIGNAL where it sent the last one;
    `now` is unix seconds.
    """
    pieces: list[Content] = []
    if not run.status.alive:
        return Content("")
    if ladder is not None:
        pieces = _ladder(run.view, ladder, mine, now)
    elif run.status is Status.HOLDING:
        pieces = _holding(run)
    elif run.asked:
        phase = run.view.phase
        measures = phase is not None and phase.name == "evaluating"
        when = "once the held-out rows are measured" if measures else "at the end of the step"
        pieces = [_asked(run.asked[-1], mine, now), dim(f"it comes {when}")]
    return fitting(pieces, width)


def _ladder(view: RunView, ladder: Ladder, mine: Collection[str], now: float) -> list[Content]:
    left_s, further = ladder.until(view) - now, ladder.next
    if ladder.rung is Rung.ORDERED:
        start = _asked(ladder.order, mine, now)
    else:
        name = "SIGTERM" if ladder.rung is Rung.TERMINATED else "SIGKILL"
        who = "" if SIGNAL in mine else " elsewhere"
        start = ink(f"■ {name} sent{who} {ago(ladder.since, now)}", TIGHT)
    if further is None:
        stuck = ink("the kernel cannot end it: a call of a driver or a disk hangs", WRONG)
        return [start, stuck] if left_s <= 0 else [start]
    does = "terminates it (SIGTERM)" if further is Rung.TERMINATED else "kills it (SIGKILL)"
    if left_s > 0:
        then = join(dim(f"in {duration(float(round(left_s)))}: "), ("s", STRONG), dim(f" {does}"))
    else:
        then = join(("s", STRONG), ink(f" {does}", TIGHT))
    return [start, then, dim(one_line(patience(view).why))]


def _asked(order: Order, mine: Collection[str], now: float) -> Content:
    who = "" if order.id in mine else " elsewhere"
    return ink(f"■ {ordered(order)} asked{who} {ago(order.t, now)}", TIGHT)


def _holding(run: RunNow) -> list[Content]:
    since = run.view.holding_since
    at = time.strftime(" since %H:%M:%S", time.localtime(since)) if since is not None else ""
    held = held_gib(run.view)
    stays = "all stays loaded"
    if on_card(run.view):
        much = "" if held is None else f": {number(held)} GiB"
        stays = f"the card stays full{much}"
    elif held is not None:
        stays += f": {number(held)} GiB of memory"
    return [ink(f"‖ holding{at}", ACCENT), join(("h", STRONG), dim(" goes on")), dim(stays)]


def course_rows(extension: Extension, width: int) -> Sequence[Content]:
    """The learning rate as it is and as it would be, over the same steps, with figures."""
    end = max(len(_figures(extension.now, extension)), len(_figures(extension.then, extension)))
    columns = max(8, min(60, width - LABEL - end - 3))
    at = round(extension.step * (columns - 1) / max(1, extension.steps - 1))
    mark = f"▲ step {extension.step:,}"
    # Where there is no room behind it, the words stand before the mark.
    if at + len(mark) > columns + end:
        mark = f"step {extension.step:,} ▲"
        at = max(0, at - len(mark) + 1)
    return (
        _course_row("as it is", extension.now, extension, columns),
        _course_row("then", extension.then, extension, columns),
        join(" " * (LABEL + at), dim(mark)),
    )


def _course_row(label: str, course: Course, extension: Extension, columns: int) -> Content:
    drawn = course.glyphs(columns, extension.steps, extension.then.peak)
    figures = _figures(course, extension)
    style = DIM if course is extension.now else BRIGHT
    return join(left(dim(label), LABEL), ink(drawn, style), "   ", dim(figures))


def _figures(course: Course, extension: Extension) -> str:
    now = rate(course.at(min(extension.step, course.steps)))
    return f"{now} now, {rate(course.at(course.steps))} at {course.steps:,}"
