"""A session as a row of the table; pure functions from a summary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, count, number, one_line, shorten_middle, size
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, TIGHT, WRONG, dim, ink, join
from tui_lora.ui.widgets.table import Column, Row
from tui_lora.ui.widgets.trend import trend

if TYPE_CHECKING:
    from tui_lora.store.sessions import Summary

COLUMNS = (
    Column("session", 0, middle=True),
    Column("status", 15),
    Column("step", 13, numeric=True),
    Column("loss", 6, numeric=True, from_width=66),
    Column("", 10, from_width=100),
    Column("held-out", 8, numeric=True),
    Column("base", 6, numeric=True, from_width=92),
    Column("VRAM", 8, numeric=True, from_width=128),
    Column("adapter", 8, numeric=True, from_width=128),
    Column("changed", 8, numeric=True, from_width=92),
)


def haystack(summary: Summary) -> str:
    """What a filter looks in."""
    parts = (summary.name, summary.model, summary.dataset, summary.task, summary.status.value)
    return " ".join(part.lower() for part in parts if part)


def row_of(summary: Summary, *, marked: bool = False) -> Row:
    """`marked`: the first of two to be compared, or one of those to be laid over each other."""
    total = summary.total_steps
    brief = count if (total or 0) >= 100_000 else "{:,}".format
    step = UNKNOWN if summary.step is None else brief(summary.step)
    vram = summary.peak_vram_gib
    return Row(
        summary.name,
        (
            ink(f"{'◆ ' if marked else ''}{one_line(summary.name)}", _name_style(summary, marked)),
            _status(summary),
            join(ink(step), dim(f"/{brief(total)}" if total else "")),
            _number(summary.loss),
            ink(trend(summary.recent_losses, 10), "$chart-loss"),
            _number(summary.eval_loss),
            _number(summary.base_eval_loss),
            join(_number(vram), dim(" GiB" if vram is not None else "")),
            ink(size(summary.adapter_bytes), BRIGHT if summary.adapter_bytes else DIM),
            dim(_changed(summary.updated)),
        ),
    )


def of_what(summary: Summary, width: int) -> Content:
    """Model, dataset and task in a row of `width`; where the first two have no room, both are cut
    in the middle."""
    task = task_words(summary)
    names = [summary.model or UNKNOWN, summary.dataset or UNKNOWN]
    room = max(24, width - len("model    dataset ") - task.cell_length)
    if len(names[0]) + len(names[1]) > room:
        most = max(room // 2, room - min(map(len, names)))
        names = [shorten_middle(name, most) for name in names]
    return join(dim("model "), ink(names[0]), dim("   dataset "), ink(names[1]), task)


def task_words(summary: Summary) -> Content:
    """A task other than answering, and what it is measured by; nothing for sft."""
    if summary.task in (None, "sft"):
        return Content("")
    from tui_lora.core.metrics import BY_NAME, figure

    words = join(dim("   task "), ink(str(summary.task)))
    for name, metric in BY_NAME.items():
        if name in summary.metrics:
            before = figure(name, summary.base_metrics.get(name))
            now = figure(name, summary.metrics[name])
            return join(words, dim(f"   {metric.label} "), ink(f"{before} → {now}"))
    return words


def _status(summary: Summary) -> Content:
    """What it is doing, at which place it waits, or that it could not start at its turn."""
    # The status words come with pydantic; an empty list needs neither.
    from tui_lora.core.queue import place_words
    from tui_lora.core.status import Status
    from tui_lora.ui.run_text import status_word

    if summary.problem:
        return ink("✗ unreadable", WRONG)
    if summary.turn is not None and summary.status is Status.QUEUED:
        return status_word(summary.status, f"queued, {place_words(summary.turn.place)}")
    if summary.refused and not summary.status.alive:
        return ink("! not started", TIGHT)
    return status_word(summary.status)


def _name_style(summary: Summary, marked: bool) -> str:
    return WRONG if summary.problem else ACCENT if marked else BRIGHT


def _number(value: float | None) -> Content:
    return ink(number(value), DIM if value is None else BRIGHT)


def _changed(when: float | None) -> str:
    """The time of day for today, else the day: unlike an age, it stands still."""
    if when is None:
        return UNKNOWN
    then, now = time.localtime(when), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b" if then.tm_year == now.tm_year else "%b %Y", then)
