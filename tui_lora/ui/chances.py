"""What a classifier thinks of a text: the likeliest labels, each with a thin bar."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui_lora.core.chat import Chance
from tui_lora.core.text import one_line, shorten_middle
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    GOOD,
    STRONG,
    TIGHT,
    bar,
    dim,
    ink,
    join,
    left,
    right,
)

SHOWN_CHANCES = 10
LABEL_AT_MOST = 30
BAR = 24


def chance_rows(chances: Sequence[Chance], truth: str = "") -> list[Content]:
    """A row for each of the likeliest, and for the true label where that is known."""
    shown = list(enumerate(chances[:SHOWN_CHANCES], start=1))
    if truth and all(chance.label != truth for _, chance in shown):
        shown += [(at, c) for at, c in enumerate(chances, start=1) if c.label == truth]
    width = min(LABEL_AT_MOST, max(len(one_line(chance.label)) for _, chance in shown))
    rows = []
    for at, chance in shown:
        label = shorten_middle(one_line(chance.label), width)
        first = at == 1
        row = join(
            left(ink(label, STRONG if first else BRIGHT), width + 2),
            bar(chance.probability, BAR, ACCENT if first else DIM),
            right(ink(f"{100 * chance.probability:.1f}", STRONG if first else BRIGHT), 6),
            dim("%"),
        )
        if truth and chance.label == truth:
            place = "" if at <= SHOWN_CHANCES else f", in place {at:,}"
            said = "✓ the true label" if first else f"▲ the true label{place}"
            row = join(row, "   ", ink(said, GOOD if first else TIGHT))
        rows.append(row)
    return rows
