"""A run in words and figures: pure functions from a snapshot to rows of `Content`.

Imported when the first snapshot arrives, since the run view's types cost 0.1 s.
"""

from __future__ import annotations

import textwrap
import time

from textual.content import Content

from tui_lora.core.control_words import freed_words
from tui_lora.core.out_of_memory import changes_words
from tui_lora.core.status import Status
from tui_lora.core.text import duration, number, one_line
from tui_lora.core.view import LogLine, Phase, perplexity
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    GAP,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    bar,
    dim,
    ink,
    join,
    right,
)
from tui_lora.ui.out_of_memory_text import ran_out_rows
from tui_lora.ui.run_numbers import headline
from tui_lora.ui.state import RunNow

LOOKS: dict[Status, tuple[str, str]] = {
    Status.DRAFT: ("○", DIM),
    Status.QUEUED: ("◷", DIM),
    Status.RUNNING: ("●", ACCENT),
    Status.HOLDING: ("‖", ACCENT),
    Status.QUIET: ("◌", TIGHT),
    Status.INTERRUPTED: ("!", TIGHT),
    Status.DONE: ("✓", GOOD),
    Status.STOPPED: ("■", BRIGHT),
    Status.PAUSED: ("‖", BRIGHT),
    Status.FAILED: ("✗", WRONG),
    Status.OUT_OF_MEMORY: ("▲", WRONG),
}


def status_word(status: Status, words: str = "") -> Content:
    """Glyph and word, so that the colour never says it alone."""
    glyph, style = LOOKS[status]
    return ink(f"{glyph} {words or status.value}", style)


def state_row(run: RunNow, width: int, now: float) -> Content:
    """What the run is doing, how far it is and how long it will take, in one row."""
    view, status = run.view, run.status
    phase = view.phase if status.alive else None
    step, total = view.step, view.total_steps
    if phase is not None and view.last_step is None:
        return _loading(status, phase, width, now)
    words = ""
    if status is Status.RUNNING:
        words = "training" if view.last_step is not None else "starting"
        words = _doing(phase) if phase is not None else words
        # Its last word is said, and its process takes a moment to go.
        words = "ending" if view.verdict is not None else words
    pieces = [status_word(status, one_line(words, max_chars=24))]
    if total:
        of = " of " if width >= 100 else "/"
        so_far = f"{step:,}".rjust(len(f"{total:,}"))
        pieces.append(join(dim("step "), ink(so_far), dim(f"{of}{total:,}")))
    if view.last_step is not None and view.plan is not None and width >= 70:
        epochs = f" of {round(view.plan.epochs, 2):g}" if width >= 100 else ""
        pieces.append(join(dim("epoch "), ink(f"{view.last_step.epoch:.2f}"), dim(epochs)))
    row = Content(GAP).join(pieces)
    if not total:
        return row
    # Steps are what is reckoned: of what comes after the last one, nothing is known.
    trains = status.alive and status is not Status.HOLDING
    left_s = view.eta_s if trains and step < total else None
    end = join(ink(f"{100 * step / total:3.0f}"), dim("%"))
    if status.alive:
        end = join(end, right(join(ink(duration(left_s)), dim(" left")), 18))
    room = width - row.cell_length - end.cell_length - 2 * len(GAP)
    style = ACCENT if status.alive else LOOKS[status][1]
    if room >= 6:
        row = join(row, GAP, bar(step / total, room, style))
    return join(row, GAP, end)


def _doing(phase: Phase) -> str:
    """A phase between steps, in a word or two: the row has little room beside the bar."""
    word = {"evaluating": "measuring", "saving": "saving"}.get(phase.name)
    if word is None:
        return phase.label
    if phase.done is not None and phase.total:
        return f"{word} {phase.done:,.0f} of {phase.total:,.0f}"
    return word


def _loading(status: Status, phase: Phase, width: int, now: float) -> Content:
    gone = max(0.0, now - phase.since)
    words = "loading" if status is Status.RUNNING else ""
    row = join(status_word(status, words), GAP, ink(phase.label))
    shown = [ink(duration(float(int(gone))))]
    if phase.expect_s:
        shown.append(dim(f" of about {duration(phase.expect_s)}"))
    end = join(*shown)
    share: float | None = None
    if phase.done is not None and phase.total:
        share = phase.done / phase.total
        unit = f" {phase.unit}" if phase.unit else ""
        row = join(row, GAP, ink(f"{phase.done:,.0f}"), dim(f" of {phase.total:,.0f}{unit}"))
    elif phase.expect_s:
        share = min(0.99, gone / phase.expect_s)
    room = width - row.cell_length - end.cell_length - 2 * len(GAP)
    if share is not None and room >= 6:
        row = join(row, GAP, bar(share, room))
    return join(row, GAP, end)


def changes_row(run: RunNow) -> Content:
    """What the run was branched from, and what it goes on with that run.yaml does not say; empty
    where nothing is."""
    said = [dim(run.parent.words)] if run.parent is not None else []
    if run.first is not None and run.view.spec_changes:
        words = changes_words(run.first, run.view.spec_changes)
        said += [dim(f"changed since the start: {words}")] if words else []
    return Content(GAP).join(said)


def verdict_rows(run: RunNow, next_keys: list[tuple[str, str]], width: int) -> list[Content]:
    """What came of it and what to press next; nothing while it runs."""
    view, status = run.view, run.status
    rows: list[Content] = []
    if run.problem:
        rows.append(ink(f"✗ run.yaml: {run.problem}", WRONG))
    if status is Status.DONE:
        seconds = run.result.seconds if run.result else None
        pieces = [dim(f"took {duration(seconds)}")] if seconds is not None else []
        base = view.base_eval.loss if view.base_eval else None
        tuned = view.tuned_eval.loss if view.tuned_eval else None
        if (measured := headline(run)) is not None:
            label, before, after = measured
            pieces.append(join(dim(f"held-out {label} "), (f"{before} → {after}", STRONG)))
        elif run.task == "sft" and base is not None and tuned is not None:
            before, after = number(perplexity(base)), number(perplexity(tuned))
            pieces.append(join(dim("held-out perplexity "), (f"{before} → {after}", STRONG)))
        if view.adapter is not None:
            pieces.append(dim(f"adapter in {one_line(view.adapter.path)}/"))
        rows.append(Content(GAP).join(pieces))
        if run.result is not None and run.result.message:
            told = textwrap.wrap(one_line(run.result.message), max(20, width))
            rows += [ink(line, TIGHT) for line in told]
    elif status is Status.OUT_OF_MEMORY and view.ran_out is not None:
        rows += ran_out_rows(view.ran_out, view.forecast, width)
    elif status in (Status.FAILED, Status.OUT_OF_MEMORY):
        message = (run.result.message if run.result else "") or view.verdict_message
        lines = [one_line(line) for line in message.splitlines() if line.strip()]
        rows += [ink(line, WRONG if index == 0 else BRIGHT) for index, line in enumerate(lines[:6])]
        rows.append(join(dim("the worker's own words: "), ink(one_line(str(run.paths.log)))))
    elif status is Status.INTERRUPTED:
        rows.append(ink("The worker ended without a last word.", TIGHT))
        rows += [ink(line) for line in textwrap.wrap(run.why_ended, max(20, width))]
        rows.append(join(dim("what it printed: "), ink(one_line(str(run.paths.log)))))
    elif status is Status.QUIET:
        rows.append(ink("! The worker has not been heard of for longer than it promised.", TIGHT))
        rows += [ink(line) for line in textwrap.wrap(run.why_quiet, max(20, width))]
        if not run.asked:
            asks = "asks it to stop; where it does not listen, s goes on to SIGTERM and SIGKILL"
            rows += [join(("s", STRONG), dim(f" {asks}"))]
    elif status is Status.DRAFT:
        rows.append(dim("Not started yet."))
    elif status is Status.QUEUED:
        rows.append(dim("It waits in the queue for its turn on its card; r starts it now."))
    elif status in (Status.STOPPED, Status.PAUSED):
        message = run.result.message if run.result else view.verdict_message
        freed = freed_words(view) if status is Status.PAUSED else ""
        said = ". ".join(part for part in (one_line(message).rstrip("."), freed) if part)
        rows += [dim(said)] if said else []
    if status.resumable:
        steps = view.checkpoint_steps
        where = f"resumes from step {steps[-1]:,}" if steps else "starts it"
        next_keys = [("r", where), *next_keys]
    if status is Status.OUT_OF_MEMORY and run.spec is not None:
        next_keys = [("a", "what makes it fit"), *next_keys]
    if next_keys and not status.alive:
        keys = [join((key, STRONG), " ", (words, DIM)) for key, words in next_keys]
        rows.append(Content(GAP).join(keys))
    return rows


def log_row(line: LogLine) -> Content:
    """`14:13:02  text`, with a mark and a colour for what is not in order."""
    return log_rows(line, None)[0]


def log_rows(line: LogLine, width: int | None) -> list[Content]:
    """The same in as many rows as it takes at `width`, the text under itself."""
    mark, style = {"warning": ("! ", TIGHT), "error": ("✗ ", WRONG)}.get(line.level, ("", BRIGHT))
    clock = time.strftime("%H:%M:%S  ", time.localtime(line.t))
    text = f"{mark}{one_line(line.text)}"
    rows = textwrap.wrap(text, max(20, width - len(clock))) if width is not None else [text]
    first, *others = rows or [""]
    indent = " " * len(clock)
    return [join(dim(clock), ink(first, style)), *(join(indent, ink(o, style)) for o in others)]
