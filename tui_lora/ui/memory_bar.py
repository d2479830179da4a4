"""A card's memory as a bar: what each part looks like, and so many of them in a row."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, FAINT, WRONG, join

Look = tuple[str, str]
"""A glyph and its style."""

TRAINED = "$chart-eval"
LOOKS: dict[str, tuple[str, str]] = {
    "weights": ("█", ACCENT),
    "adapter": ("▓", TRAINED),
    "gradients": ("▓", TRAINED),
    "optimizer": ("▓", TRAINED),
    "activations": ("▒", BRIGHT),
    "workspace": ("░", BRIGHT),
    "loss": ("░", BRIGHT),
    "context": ("╱", DIM),
    "others": ("╲", DIM),
}
"""Each shade is a shape of its own, so that no colour is needed to tell them apart."""


def filled_bar(parts: Iterable[tuple[Look, float]], total_gib: float, width: int) -> Content:
    """`total_gib` from left to right, filled with parts, each a look and GiB; what is too much is
    cut at its end."""
    pieces: list[Look] = []
    filled, cells = 0.0, 0
    for (mark, style), size in parts:
        filled += size
        many = min(width, round(width * filled / total_gib)) - cells
        if many > 0:
            pieces.append((mark * many, style))
            cells += many
    bar = join(*pieces, ("─" * (width - cells), FAINT))
    if filled > total_gib:
        return join(bar[: width - 1], ("▶", WRONG))
    return bar
