"""The curves of a run, drawn by textual-plot, which is imported after the first frame."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from textual import events, work
from textual.app import ComposeResult
from textual.timer import Timer
from textual.widget import Widget

from tui_lora.ui.ink import dim, ink, join
from tui_lora.ui.widgets.line import Line

if TYPE_CHECKING:
    from tui_lora.core.series import Series

REDRAW_EVERY_S = 2.0


@dataclass(frozen=True)
class Drawn:
    """One series of a curve. `line` is joined; `marked` has a ◆ at each value besides; `dots` is
    values alone, so that two series of one colour blind are still two."""

    label: str
    series: Series
    look: Literal["line", "marked", "dots"] = "line"


@dataclass(frozen=True)
class Curve:
    """What is drawn at a time; `may_log`: it is never below zero, so a log scale makes sense."""

    name: str
    parts: tuple[Drawn, ...]
    may_log: bool = False


_SIGNS = {"line": "─", "marked": "◆", "dots": "•"}
_COLOURS = {"line": "chart-loss", "marked": "chart-eval", "dots": "chart-eval"}


class LossPlot(Widget):
    """Draws a curve; at most every two seconds, and only what changed."""

    DEFAULT_CSS = """
    LossPlot {
        height: 1fr;
        width: 1fr;
        PlotWidget {
            height: 1fr;
            & > .plot--axis { color: $faint; }
            & > .plot--tick { color: $dim; text-style: none; }
            & > .plot--label { color: $dim; text-style: none; }
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._axes: Any = None
        self._plot: Any = None
        self._curve: Curve | None = None
        self._total: int | None = None
        self._log = False
        self._drawn: object = None
        self._drawn_at = -math.inf
        self._later: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="legend")

    def on_mount(self) -> None:
        self.call_after_refresh(self._bring_plot)
        self.watch(self.app, "theme", self._theme_changed, init=False)

    @property
    def log_scale(self) -> bool:
        return self._log

    def show(self, curve: Curve, total_steps: int | None) -> None:
        """Draw this curve, now or when two seconds have passed since the last time.

        Another curve than before is drawn at once.
        """
        another = self._curve is not None and self._curve.name != curve.name
        self._curve, self._total = curve, total_steps
        wait = self._drawn_at + REDRAW_EVERY_S - time.monotonic()
        if wait <= 0 or another:
            self._draw()
        elif self._later is None:
            self._later = self.set_timer(wait, self._draw)

    def clear(self) -> None:
        self._curve, self._drawn = None, None
        if self._plot is not None:
            self._plot.display = False

    def toggle_log_scale(self) -> None:
        self._log = not self._log
        self._draw()

    @work(exclusive=True, exit_on_error=False, group="plot")
    async def _bring_plot(self) -> None:
        # numpy comes with it: imported in a thread, so that keys are answered meanwhile.
        self._axes = await asyncio.to_thread(import_module, "tui_lora.ui.widgets.plot_axes")
        plot = self._axes.CurvePlot()
        plot.display = False
        plot.display = False
        await self.mount(plot)
        self._plot = plot
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._drawn = None
        self.call_after_refresh(self._draw)

    def _theme_changed(self) -> None:
        self._drawn = None
        self._draw()

    def _draw(self) -> None:
        if self._later is not None:
            self._later.stop()
            self._later = None
        if self._plot is None or self._curve is None:
            return
        curve = self._curve
        log = self._log and curve.may_log
        columns = max(10, self.size.width - self._axes.MARGIN_LEFT - 2)
        last = max((part.series.latest_step or 1 for part in curve.parts), default=1)
        until = x_limit(last, self._total)
        points = [_points(part.series, columns, until, log) for part in curve.parts]
        values = [value for _, column in points for value in column]
        picture = (curve.name, points, log, self._total)
        if picture == self._drawn or not values:
            return
        self._drawn, self._drawn_at = picture, time.monotonic()
        plot, colours = self._plot, self.app.theme_variables
        plot.display = True
        with plot.drawing():
            plot.set_y_formatter(self._axes.LossFormatter(log))
            plot.set_xlimits(0.0, until)
            plot.set_ylimits(*y_limits(values))
            for part, (steps, found) in zip(curve.parts, points, strict=True):
                style = colours[_COLOURS[part.look]]
                if part.look != "dots" and len(steps) > 1:
                    plot.plot(steps, found, line_style=style, hires_mode=self._axes.BRAILLE)
                if steps and (part.look != "line" or len(steps) == 1):
                    sign = "•" if part.look == "line" else _SIGNS[part.look]
                    plot.scatter(steps, found, marker=sign, marker_style=style)
        self.query_one("#legend", Line).say(
            join(
                dim(curve.name + (", log scale" if log else "")),
                *(
                    ink(f"   {_SIGNS[part.look]} {part.label}", f"${_COLOURS[part.look]}")
                    for part, (steps, _) in zip(curve.parts, points, strict=True)
                    if steps
                ),
                dim("   by step"),
            )
        )


def _points(
    series: Series, columns: int, until: float, log: bool
) -> tuple[list[float], list[float]]:
    steps, values = series.points(columns, until)
    if not log:
        return steps, values
    pairs = [(s, math.log10(v)) for s, v in zip(steps, values, strict=True) if v > 0]
    return [s for s, _ in pairs], [v for _, v in pairs]


def x_limit(last_step: float, total: int | None) -> float:
    """Where the axis ends: the whole run, or a half, a quarter … of it while that holds the curve.

    So the curve always fills at least half of the width, and the axis moves a few times a run.
    """
    if total is None or last_step >= total:
        return max(1.0, last_step)
    limit = float(total)
    while limit / 2 >= max(last_step, 4.0):
        limit /= 2
    return limit


def y_limits(values: Sequence[float]) -> tuple[float, float]:
    """From below the lowest to above the highest value, on round numbers: it stands still."""
    low, high = min(values), max(values)
    spread = max(high - low, 0.02 * max(abs(high), 1e-6), 1e-6)
    unit: float = 10.0 ** math.floor(math.log10(spread))
    unit = unit / 5 if spread / unit < 2 else unit / 2
    bottom = math.floor(low / unit) * unit
    if low >= 0:
        bottom = max(0.0, bottom)
    top = math.ceil(high / unit) * unit
    return bottom, max(top, bottom + unit)
