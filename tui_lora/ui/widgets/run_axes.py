"""Axes of runs over each other: by step, by tokens, by time. Brings numpy, as `plot_axes` does."""

from __future__ import annotations

from collections.abc import Sequence

from textual_plot.axis_formatter import NumericAxisFormatter

from tui_lora.core.text import count
from tui_lora.ui.widgets.plot_axes import BRAILLE, MARGIN_LEFT, CurvePlot, LossFormatter

__all__ = ["BRAILLE", "MARGIN_LEFT", "CurvePlot", "LossFormatter", "WayFormatter"]

_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


class WayFormatter(NumericAxisFormatter):  # type: ignore[misc]
    """Whole steps or tokens, shortened; or times in round units."""

    def __init__(self, axis: str) -> None:
        self._axis = axis

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        if self._axis != "time":
            ticks: list[float] = super().get_ticks(min_, max_, max_ticks)
            return [tick for tick in ticks if tick == int(tick)]
        span = max(max_ - min_, 1.0)
        fits = (unit for unit in _TIMES if span / unit <= max(2, max_ticks))
        unit = next(fits, 86400 * max(1, int(span / 86400 / 6)))
        return [float(at * unit) for at in range(int(min_ // unit), int(max_ // unit) + 1)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        if self._axis == "time":
            return [_clock(tick) for tick in ticks]
        return [count(tick) for tick in ticks]


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole / 86400:g} d"
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole // 60}:{whole % 60:02d}"
