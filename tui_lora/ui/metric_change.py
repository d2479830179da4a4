"""The metrics of a task before and after: pairs with bars, and the rewards in short."""

from __future__ import annotations

import math
from collections.abc import Mapping

from textual.content import Content

from tui_lora.core.metrics import BY_NAME, METRICS, figure
from tui_lora.core.text import UNKNOWN, number
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    GAP,
    GOOD,
    STRONG,
    WRONG,
    bar,
    dim,
    ink,
    join,
    left,
    right,
)

FIGURE = 9
METRIC_BAR = 20
"""Shorter than others: what is gained in points takes more room than in per cent."""
BESIDE = ("chosen_reward", "rejected_reward", "kl")
"""Neither more nor less of these is better by itself: they stand in one row each, without a bar."""


def metric_rows(base: Mapping[str, float], tuned: Mapping[str, float], on: str) -> list[Content]:
    """Rows for each metric that was measured, with an empty one behind each block."""
    there = [metric.name for metric in METRICS if metric.name in base or metric.name in tuned]
    rows: list[Content] = []
    for name in there:
        if name not in BESIDE:
            rows += [dim(f"{BY_NAME[name].label} on {on}"), *_pair(name, base, tuned), Content("")]
    beside = [_arrow(name, base, tuned) for name in there if name in BESIDE]
    return [*rows, *beside, Content("")] if beside else rows


def _pair(name: str, base: Mapping[str, float], tuned: Mapping[str, float]) -> list[Content]:
    before, after = base.get(name), tuned.get(name)
    known = [v for v in (before, after) if v is not None and math.isfinite(v)]
    top = 1.0 if BY_NAME[name].share or name == "macro_f1" else max(known, default=0.0)
    rows = []
    for label, value, style in (("base", before, DIM), ("tuned", after, ACCENT)):
        share = value / top if value is not None and top > 0 and math.isfinite(value) else None
        look = STRONG if label == "tuned" else BRIGHT
        shown = right(ink(figure(name, value), look), FIGURE)
        rows.append(join("  ", left(dim(label), 6), shown, GAP, bar(share, METRIC_BAR, style)))
    rows[1] = join(rows[1], GAP, _change(name, before, after))
    return rows


def _change(name: str, before: float | None, after: float | None) -> Content:
    """The difference; per cent of per cent would say something else."""
    if before is None or after is None or not math.isfinite(before + after):
        return dim(UNKNOWN)
    gained = after - before
    share = BY_NAME[name].share
    size = f"{100 * abs(gained):.1f} points" if share else number(abs(gained))
    if abs(gained) < (5e-4 if share else 1e-6):
        return dim("the same")
    return ink(f"▲ {size}", GOOD) if gained > 0 else ink(f"▼ {size}", WRONG)


def _arrow(name: str, base: Mapping[str, float], tuned: Mapping[str, float]) -> Content:
    label = BY_NAME[name].label if name == "kl" else f"{BY_NAME[name].label} reward"
    after = ink(figure(name, tuned.get(name)), STRONG)
    return join("  ", left(dim(label), 17), dim(f"{figure(name, base.get(name))} → "), after)
