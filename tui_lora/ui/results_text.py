"""Before and after in words and figures: from a snapshot and the session's folder to rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from textual.content import Content

from tui_lora.core.class_report import ClassReport
from tui_lora.core.measured_runs import MeasuredRun
from tui_lora.core.status import Status
from tui_lora.core.text import UNKNOWN, count, duration, number, one_line, shorten_middle, size
from tui_lora.core.view import perplexity
from tui_lora.store import class_reports
from tui_lora.store.answer_sheets import AnswerSheet, newest
from tui_lora.store.checkpoints import Checkpoint, checkpoints, damage, unfinished
from tui_lora.store.memory_table import measured_runs
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import adapter_bytes
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    FAINT,
    GAP,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    bar,
    dim,
    fitting,
    ink,
    join,
    left,
    right,
)
from tui_lora.ui.metric_change import METRIC_BAR, metric_rows
from tui_lora.ui.run_text import status_word
from tui_lora.ui.state import RunNow

LABEL = 13
FIGURE = 9
BAR = 24


@dataclass(frozen=True)
class OnDisk:
    """What a session's folder holds besides its events. `damage`: None while it is checked, ""
    for a whole checkpoint. `runs`: what runs on this machine's cards took, this one or others."""

    adapter: Path
    adapter_bytes: int | None
    checkpoints: tuple[tuple[Checkpoint, str | None], ...]
    unfinished: tuple[str, ...]
    sheet: AnswerSheet | None
    report: ClassReport | None = None
    runs: tuple[MeasuredRun, ...] = ()


def read_disk(paths: SessionPaths, known: OnDisk | None) -> Iterator[OnDisk]:
    """What the folder holds, at once and then with the checkpoints checked; blocks.

    Every byte of a checkpoint is read for that, so those that are `known` are not checked again.
    """
    checked_before = dict(known.checkpoints) if known is not None else {}
    found = OnDisk(
        paths.adapter,
        adapter_bytes(paths.adapter),
        tuple((one, checked_before.get(one)) for one in checkpoints(paths.checkpoints)),
        tuple(unfinished(paths.checkpoints)),
        newest(paths),
        class_reports.newest(paths),
        tuple(measured_runs()),
    )
    yield found
    checked = tuple(
        (one, harm if harm is not None else damage(one.folder) or "")
        for one, harm in found.checkpoints
    )
    yield replace(found, checkpoints=checked)


def not_yet(run: RunNow) -> tuple[str, list[tuple[str, str]]] | None:
    """Why there is nothing to show, and which key leads on; None when there is."""
    view, status, name = run.view, run.status, one_line(run.paths.name)
    so_far = f"step {view.step:,} of {view.total_steps:,}" if view.total_steps else "it loads"
    if status.alive:
        does = "is held" if status is Status.HOLDING else "is still training"
        about = f"{name} {does}: {so_far}. Before and after stand here when it has ended."
        return about, [("5", "watch it, or stop it")]
    if status is Status.QUEUED and view.last_step is None:
        return f"{name} waits in the queue for its turn.", [("5", "see it there")]
    if status is Status.DRAFT:
        return f"{name} has not been trained yet.", [("5", "start it there, with r")]
    if view.last_step is None and view.last_eval is None:
        words = f"{name} has no results ({status.value}): it ended before its first step."
        return words, [("5", "see why, and start it again with r")]
    return None


def head_row(run: RunNow, width: int) -> Content:
    """How it ended, after how many steps, when and in what time."""
    view, result = run.view, run.result
    of = f" of {view.total_steps:,}" if view.total_steps else ""
    pieces = [status_word(run.status), join(dim("step "), ink(f"{view.step:,}"), dim(of))]
    if result is not None and result.seconds is not None:
        last = "the last attempt took " if result.attempt > 1 else "took "
        pieces.append(join(dim(last), ink(duration(result.seconds))))
    if result is not None and result.finished is not None:
        when = time.strftime("%d %b %H:%M", time.localtime(result.finished))
        pieces.append(join(dim("ended "), ink(when)))
    return fitting(pieces, width)


def source_row(width: int) -> Content:
    """What tells the run's own figures from those of an evaluation."""
    row = dim("measured by the run itself, before its first step and after its last ")
    return join(row, ink("─" * max(0, width - row.cell_length), FAINT))


def change_rows(run: RunNow) -> list[Content]:
    """What the task is measured by on held-out rows, base and tuned, each with its bar."""
    view, result = run.view, run.result
    base = view.base_eval.loss if view.base_eval else (result.base_eval_loss if result else None)
    last = view.tuned_eval
    tuned = last.loss if last is not None else (result.eval_loss if result else None)
    if base is None and tuned is None:
        return [dim("No rows were held out, so there is no before and after.")]
    rows = view.base_eval.rows if view.base_eval else (last.rows if last else None)
    on = f"{rows:,} held-out rows" if rows is not None else "held-out rows"
    if run.task == "sft":
        shown = [
            dim(f"perplexity on {on}"),
            *_pair(perplexity(base), perplexity(tuned)),
            Content(""),
            dim(f"loss on {on}, in nats a token"),
            *_pair(base, tuned),
        ]
    else:
        in_what = "in nats a row" if run.task == "classification" else f"as {run.task} defines it"
        shown = [
            *metric_rows(*measured(run), on),
            dim(f"loss on {on}, {in_what}"),
            *_pair(base, tuned, METRIC_BAR),
        ]
    best = view.best_eval
    if best is not None and tuned is not None and best.step and best.loss < tuned:
        text = (
            f"▲ it was lower at step {best.step:,} ({number(best.loss)}); this is the last step's"
        )
        shown.append(ink(text, TIGHT))
    return shown


def measured(run: RunNow) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The task's metrics on held-out rows: the base's, and those of the trained adapter."""
    view, result = run.view, run.result
    base = view.base_eval.metrics if view.base_eval else (result.base_metrics if result else {})
    last = view.tuned_eval
    return base, last.metrics if last is not None else (result.metrics if result else {})


def _pair(base: float | None, tuned: float | None, cells: int = BAR) -> list[Content]:
    top = max((v for v in (base, tuned) if v is not None and math.isfinite(v)), default=None)
    rows = []
    for label, value, style in (("base", base, DIM), ("tuned", tuned, ACCENT)):
        share = value / top if value is not None and top and math.isfinite(value) else None
        look = STRONG if label == "tuned" else BRIGHT
        rows.append(
            join(
                "  ",
                left(dim(label), 6),
                right(ink(number(value), look), FIGURE),
                GAP,
                bar(share, cells, style),
            )
        )
    rows[1] = join(rows[1], GAP, _change(base, tuned))
    return rows


def _change(base: float | None, tuned: float | None) -> Content:
    if base is None or tuned is None or not base or not math.isfinite(base + tuned):
        return dim(UNKNOWN)
    percent = 100 * (tuned - base) / base
    if abs(percent) < 0.05:
        return dim("the same")
    if percent < 0:
        return ink(f"▼ {-percent:.1f}%", GOOD)
    return ink(f"▲ {percent:.1f}%", WRONG)


def fact_rows(run: RunNow, disk: OnDisk | None) -> list[Content]:
    """What training itself left: losses, tokens, the adapter."""
    view = run.view
    last = view.last_step
    best = f"best {number(view.loss.best)}" if view.loss.best is not None else ""
    at = f" at step {view.loss.best_step:,}" if view.loss.best_step is not None else ""
    plan = view.plan
    share = 100 * plan.trainable_parameters / max(1, plan.total_parameters) if plan else 0.0
    of = f"of {count(plan.total_parameters)}, {share:.2g}%" if plan else ""
    passes = f"to train on; {last.epoch:.2f} epochs" if last is not None else "to train on"
    rows = [
        dim("training"),
        _fact("train loss", ink(number(view.loss.latest), STRONG), f"{best}{at}"),
        _fact("rows", ink(f"{plan.train_rows:,}" if plan else UNKNOWN), passes),
        _fact("tokens", ink(count(last.tokens_seen if last else None)), "went through the model"),
        _fact("trainable", ink(count(plan.trainable_parameters if plan else None)), of),
    ]
    taken = disk.adapter_bytes if disk is not None else None
    where = shorten_middle(one_line(str(disk.adapter)), 32) if disk and taken is not None else ""
    rows.append(_fact("adapter", ink(size(taken)), where))
    return rows


def _fact(label: str, value: Content, note: str) -> Content:
    return join("  ", left(dim(label), LABEL), right(value, FIGURE), dim(f"  {note}"))


def checkpoint_rows(disk: OnDisk) -> list[Content]:
    """Every checkpoint, and whether all of it is as it was written."""
    rows = [dim("checkpoints")]
    for checkpoint, harm in disk.checkpoints:
        state = dim("… checking") if harm is None else ink("✓ whole", GOOD)
        if harm:
            state = ink(f"✗ {one_line(harm)}", WRONG)
        rows.append(
            join(
                dim("  step "),
                right(ink(f"{checkpoint.step:,}"), 8),
                right(ink(size(checkpoint.size_bytes)), 10),
                GAP,
                state,
            )
        )
    rows += [join("  ", ink(f"! {one_line(n)} was never finished", TIGHT)) for n in disk.unfinished]
    return rows if len(rows) > 1 else [dim("checkpoints"), dim(f"  {UNKNOWN}")]


def choice_rows(run: RunNow, width: int) -> list[Content]:
    """What each 'auto' became, and why; the reasons in rows of their own on a narrow terminal."""
    choices = run.view.choices
    if not choices:
        return []
    setting = min(32, max(len(choice.setting) for choice in choices)) + 2
    value = min(24, max(len(choice.value) for choice in choices)) + 2
    rows = [dim("chosen where you left it open")]
    for choice in choices:
        named = left(dim(one_line(choice.setting)), setting)
        became = ink(one_line(choice.value))
        why = dim(one_line(choice.reason))
        if width >= 100:
            rows.append(join("  ", named, left(became, value), why))
        else:
            rows += [join("  ", named, became), join("    ", why)]
    return rows


def sheet_words(sheet: AnswerSheet) -> str:
    """Where the questions are from, how they were answered, and when."""
    when = time.strftime("%d %b %H:%M", time.localtime(sheet.t))
    at = f" · step {sheet.step:,}" if sheet.step is not None else ""
    source = one_line(sheet.source)
    return f"{source} · greedy, {sheet.max_new_tokens} tokens · {when}{at}"
