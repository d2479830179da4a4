"""An evaluation before its end, in rows: what it takes, whether there is room, how far it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.chat_fit import ChatFit
from tui_lora.core.chat_memory import Place
from tui_lora.core.evaluate import ANSWER_ROWS, PERPLEXITY_ROWS
from tui_lora.core.evaluation import Evaluation
from tui_lora.core.evaluation_cost import expected_s
from tui_lora.core.task_metrics import NONE
from tui_lora.core.text import UNKNOWN, duration, number, one_line
from tui_lora.store.evaluation_order import Wanted
from tui_lora.store.evaluations import Unfinished
from tui_lora.ui.evaluate_link import Evaluating
from tui_lora.ui.ink import ACCENT, DIM, STRONG, TIGHT, WRONG, bar, dim, fitting, ink, join

if TYPE_CHECKING:
    from tui_lora.core.view import RunView

GENERAL_ROWS = 16
PART_WORDS = {
    "eval": "held-out rows",
    "train": "trained rows",
    "general": "general text",
    "answers": "answers",
}
BAR = 16


def unfinished_words(left: Unfinished) -> str:
    when = time.strftime("%d %b %H:%M", time.localtime(left.t))
    rows = "1 row" if left.rows == 1 else f"{left.rows:,} rows"
    return f"one of {when} did not end: {rows} done"


# -- before it begins -----------------------------------------------------------------------------


def needs_row(
    view: RunView,
    wanted: Wanted,
    metrics: tuple[str, ...] | None,
    earlier: Sequence[Evaluation],
    place: Place | None,
) -> Content:
    """How many rows and answers, and how long that takes by an evaluation of before, else by what
    the run itself measured. `metrics` None: some, that suit the rows."""
    losses, answers, known = _rows(view, wanted, metrics)
    told = join(ink(f"{losses:,}"), dim(" losses"))
    if answers:
        told = join(told, dim(", "), ink(f"{answers:,}"), dim(" answers"))
    if not known:
        told = join(dim("at most "), told)
    # The newest first; not every one measured what is wanted now.
    alike = (one for one in earlier if one.complete and (one.device == "cpu") == (place == "cpu"))
    times = (expected_s(one, losses, answers, wanted.max_tokens) for one in alike)
    if place is not None and (expected := next(filter(None, times), None)) is not None:
        least, most = expected
        span = duration(most) if most <= 1.2 * least else f"{duration(least)} to {duration(most)}"
        span = span if least >= 0.05 * most else f"at most {duration(most)}"
        return join(told, dim("   takes "), ink(span), dim(", by an earlier one"))
    if not answers and view.base_eval is not None and view.base_eval.seconds:
        seconds = 2 * losses * view.base_eval.seconds / max(1, view.base_eval.rows)
        where = "as the run measured"
        return join(told, dim("   takes "), ink(duration(seconds)), dim(f" and loading, {where}"))
    return join(told, dim("   takes "), ink(UNKNOWN), dim(", as none was made here yet"))


def _rows(view: RunView, wanted: Wanted, metrics: tuple[str, ...] | None) -> tuple[int, int, bool]:
    """Rows whose loss is measured, answers, and whether the run said how many rows it has."""
    plan = view.plan
    most = wanted.rows or PERPLEXITY_ROWS
    there = {
        "eval": plan.eval_rows if plan is not None and wanted.data is None else None,
        "train": plan.train_rows if plan is not None else None,
        "general": GENERAL_ROWS,
    }
    losses = 0
    for part in wanted.parts:
        rows = there[part]
        losses += GENERAL_ROWS if part == "general" else most if rows is None else min(most, rows)
    held_out = there["eval"]
    answers = wanted.rows or ANSWER_ROWS
    if held_out is not None:
        answers = min(answers, held_out or (there["train"] or 0) * bool(metrics))
    if metrics in ((), (NONE,)):
        answers = 0
    return losses, answers, plan is not None and wanted.data is None


def room_row(fit: ChatFit, *, closes_chat: bool) -> tuple[str, str]:
    """Whether there is room, in words, with the look that they deserve."""
    told = f"it {fit.sentence.removeprefix('chat ')}"
    if fit.verdict == "does_not_fit":
        return f"✗ {told}", WRONG
    if closes_chat:
        return f"! the chat is put away for it; {told}", TIGHT
    if fit.verdict == "fits":
        return f"✓ there is room: {told}", DIM
    tight = "it is tight" if fit.verdict == "tight" else "whether it fits is not known"
    return f"! {tight}: {told}", TIGHT


# -- while it goes on -----------------------------------------------------------------------------


def progress_rows(now: Evaluating, clock: float, width: int) -> list[Content]:
    """What it does and how far that is, then the figures so far; nothing where there is none."""
    if now.paths is None or not now.alive:
        return []
    step = f" at step {now.asked.step:,}" if now.asked and now.asked.step is not None else ""
    who = join(
        ("● ", ACCENT), dim("measuring "), ink(one_line(now.paths.name, max_chars=30) + step)
    )
    ends = join(("c", STRONG), dim(" cancels; what is done is kept"))
    if now.cancelling:
        ends = join(ink("cancelling: ends after this batch", TIGHT), "   ", ("c", STRONG),
                    dim(" at once"))  # fmt: skip
    if now.progress is None:
        gone = max(0.0, clock - now.since)
        label = now.label or ("the first batch" if now.planned is not None else "starting")
        took = (
            f"{duration(float(int(gone)))} of about {duration(now.expect_s)}"
            if now.expect_s
            else (f"{int(gone)} s")
        )
        first = fitting([who, ink(one_line(label)), dim(took)], width)
        return [first, fitting([ends, *_going_on(now)], width)]
    how = now.progress
    share = how.done / how.total if how.total else None
    pieces = [
        who,
        join(dim(f"{PART_WORDS.get(how.part, how.part)} "), ink(f"{how.part_done:,}"),
             dim(f" of {how.part_rows:,}")),
        bar(share, BAR),
        join(ink(f"{100 * (share or 0):.0f}%"), dim(" of all")),
    ]  # fmt: skip
    speed = [
        join(ink(number(how.rows_per_s)), dim(" rows/s")),
        join(ink(duration(how.eta_s)), dim(" left of these")),
        *(
            join(dim(f"{one_line(name).removesuffix(f' {how.part}')} so far "),
                 ink(number(one.base)), dim(" → "), ink(number(one.tuned), STRONG))
            for name, one in now.so_far.items()
        ),
        *([dim(one_line(how.now))] if how.now else []),
    ]  # fmt: skip
    rows = [fitting(pieces, width), fitting(speed, width), fitting([ends, *_going_on(now)], width)]
    if now.notice:
        rows.append(ink(f"! {one_line(now.notice)}", TIGHT))
    return rows


def _going_on(now: Evaluating) -> list[Content]:
    done = sum(part.done for part in now.planned.parts) if now.planned is not None else 0
    rows = "1 row was" if done == 1 else f"{done:,} rows were"
    return [dim(f"going on: {rows} measured before")] if done else []
