"""What the figures of an evaluation leave out, in words; empty where that is nothing."""

from __future__ import annotations

from tui_lora.core.evaluation import MetricReport, PartReport
from tui_lora.core.text import one_line


def lost_of_part(part: PartReport) -> str:
    """`25.0% of the trained tokens were cut, 7 left out: the template refuses it`."""
    told = []
    if part.cut_tokens:
        told.append(f"{100 * part.cut_share:.1f}% of the trained tokens were cut")
    if part.left_out:
        why = one_line(part.why_left_out)
        told.append(f"{part.left_out:,} left out{f': {why}' if why else ''}")
    return ", ".join(told)


def lost_of_metric(metric: MetricReport) -> str:
    """`14 could not be scored: rows.jsonl:3: no number`."""
    if not metric.failed:
        return ""
    first = one_line(metric.failures[0]) if metric.failures else ""
    return f"{metric.failed:,} could not be scored{f': {first}' if first else ''}"
