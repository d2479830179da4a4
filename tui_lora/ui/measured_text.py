"""A run's memory as it was predicted and as it was measured, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui_lora.core.measured_runs import MeasuredRun, Peaks, difference, plain_name
from tui_lora.core.text import UNKNOWN, one_line
from tui_lora.core.view import RunView
from tui_lora.ui.ink import BRIGHT, GOOD, STRONG, TIGHT, dim, ink, join, left, right
from tui_lora.ui.state import RunNow

LAST_RUNS = 10
NEAR = 0.05
"""A prediction that is off by less is a good one."""

_LABEL, _FIGURE, _OFF = 13, 11, 11


def memory_rows(run: RunNow, runs: Sequence[MeasuredRun] = ()) -> list[Content]:
    """Allocated, reserved, context and the process's whole, in GiB, with the source of each. `runs`
    are those of this machine, for how right predictions were on this card."""
    view = run.view
    predicted, measured = _predicted(view), _measured(view)
    head = join(
        left(dim("peak memory"), _LABEL + 2),
        right(dim("predicted"), _FIGURE),
        right(dim("measured"), _FIGURE),
        right(dim("off by"), _OFF),
        dim("   GiB"),
    )
    if not _on_card(view):
        why = view.forecast.unknown if view.forecast is not None else ""
        why = one_line(why) or "of what a run takes on the processor there is no prediction"
        return [
            head,
            _row("process", None, view.peak_process_gib, "the worker's resident memory"),
            dim(f"  {why}"),
        ]
    told, found = view.forecast, view.measured
    method = told.forecast.method if told is not None and told.forecast is not None else ""
    context = " | ".join(
        one_line(source)
        for source in (
            told.context_source if told is not None and method else "",
            found.context_source if found is not None else "",
        )
        if source
    )
    torch = " | ".join(filter(None, (method, "torch")))
    rows = [
        head,
        _row("allocated", predicted.allocated_gib, measured.allocated_gib, torch),
        _row("reserved", predicted.reserved_gib, measured.reserved_gib, torch),
        _row("context", predicted.context_gib, measured.context_gib, context),
        _row("process", predicted.process_gib, measured.process_gib, "reserved and context"),
    ]
    if told is None or told.forecast is None:
        why = one_line(told.unknown) if told is not None else ""
        rows.append(dim(f"  nothing was predicted{': ' if why else ''}{why}"))
    card = (found.card if found is not None else "") or (told.card if told is not None else "")
    said = how_right(runs, card)
    return [*rows, dim(f"  {said}")] if said else rows


def how_right(runs: Sequence[MeasuredRun], card: str) -> str:
    """`in the last 5 runs on this card predictions were within 3.1%`; empty without any."""
    off = [
        abs(found)
        for run in sorted(runs, key=lambda run: run.t)
        if run.predicted is not None
        and card
        and plain_name(run.card) == plain_name(card)
        and (found := difference(run.predicted.process_gib, run.measured.process_gib)) is not None
    ][-LAST_RUNS:]
    if not off:
        return ""
    last = "the last run" if len(off) == 1 else f"the last {len(off)} runs"
    return f"in {last} on this card predictions were within {100 * max(off):.1f}%"


def _on_card(view: RunView) -> bool:
    if view.plan is not None:
        return view.plan.device != "cpu"
    return view.measured is not None or view.peak_reserved_gib is not None


def _predicted(view: RunView) -> Peaks:
    found = view.forecast.forecast if view.forecast is not None else None
    if found is None:
        return Peaks()
    return Peaks(
        allocated_gib=found.peak_allocated_gib,
        reserved_gib=found.peak_reserved_gib,
        context_gib=found.parts.context,
    )


def _measured(view: RunView) -> Peaks:
    """At the end of the attempt, which has seen all of it; before that, what the steps told."""
    last, found = view.last_step, view.measured
    allocated = last.peak_allocated_gib if last is not None else None
    reserved = view.peak_reserved_gib
    if found is None:
        return Peaks(allocated_gib=allocated, reserved_gib=reserved)
    return Peaks(
        allocated_gib=found.peak_allocated_gib or allocated,
        reserved_gib=found.peak_reserved_gib or reserved,
        context_gib=found.context_gib,
    )


def _row(label: str, predicted: float | None, measured: float | None, source: str) -> Content:
    return join(
        "  ",
        left(dim(label), _LABEL),
        right(_gib(predicted, BRIGHT), _FIGURE),
        right(_gib(measured, STRONG), _FIGURE),
        right(_off(difference(predicted, measured)), _OFF),
        dim(f"   {source}"),
    )


def _gib(size: float | None, style: str) -> Content:
    return dim(UNKNOWN) if size is None else ink(f"{size:.2f}", style)


def _off(share: float | None) -> Content:
    if share is None:
        return dim(UNKNOWN)
    sign = "✓" if abs(share) < NEAR else "▲" if share > 0 else "▼"
    return ink(f"{sign} {100 * share:+.1f}%", GOOD if abs(share) < NEAR else TIGHT)
