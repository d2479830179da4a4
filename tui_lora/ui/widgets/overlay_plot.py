"""Curves of several runs over each other, each with its letter; drawn by textual-plot."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from textual import events, work
from textual.widget import Widget

from tui_lora.ui.widgets.loss_plot import y_limits

COLOURS = ("chart-loss", "chart-eval", "good", "wrong", "tight", "foreground", "dim", "chart-eval")
LETTERS_ON_A_CURVE = 4


@dataclass(frozen=True)
class Laid:
    """A run's curve; `at` says which colour is its own."""

    letter: str
    at: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    marked: bool = False


class OverlayPlot(Widget):
    """Draws what it is given, when it differs from what stands there."""

    DEFAULT_CSS = """
    OverlayPlot {
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
        self._what: tuple[tuple[Laid, ...], str, bool] = ((), "step", False)
        self._drawn: object = None

    def on_mount(self) -> None:
        self.call_after_refresh(self._bring_plot)
        self.watch(self.app, "theme", self._again, init=False)

    def show(self, curves: tuple[Laid, ...], axis: str, *, log: bool) -> None:
        self._what = (curves, axis, log)
        self._draw()

    @work(exclusive=True, exit_on_error=False, group="plot")
    async def _bring_plot(self) -> None:
        # numpy comes with it: imported in a thread, so that keys are answered meanwhile.
        self._axes = await asyncio.to_thread(import_module, "tui_lora.ui.widgets.run_axes")
        plot = self._axes.CurvePlot()
        plot.display = False
        await self.mount(plot)
        self._plot = plot
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._again)

    def _again(self) -> None:
        self._drawn = None
        self._draw()

    def _draw(self) -> None:
        if self._plot is None or self._what == self._drawn:
            return
        self._drawn = self._what
        curves, axis, log = self._what
        columns = max(10, self.size.width - self._axes.MARGIN_LEFT - 2)
        points = [(one, *thinned(one.x, one.y, 2 * columns, log=log)) for one in curves]
        values = [value for _, _, found in points for value in found]
        self._plot.display = bool(values)
        if not values:
            return
        plot, colours = self._plot, self.app.theme_variables
        until = max(x for _, found, _ in points for x in found)
        with plot.drawing():
            plot.set_x_formatter(self._axes.WayFormatter(axis))
            plot.set_y_formatter(self._axes.LossFormatter(log))
            plot.set_xlimits(0.0, max(until, 1.0))
            plot.set_ylimits(*y_limits(values))
            for one, x, y in points:
                style = colours[COLOURS[one.at % len(COLOURS)]]
                if len(x) > 1:
                    plot.plot(x, y, line_style=style, hires_mode=self._axes.BRAILLE)
            for one, x, y in points:
                style = colours[COLOURS[one.at % len(COLOURS)]]
                places = _letter_places(len(x), one)
                if places:
                    plot.scatter(
                        [x[at] for at in places],
                        [y[at] for at in places],
                        marker=one.letter,
                        marker_style=f"bold {style}",
                    )


def thinned(
    x: tuple[float, ...], y: tuple[float, ...], most: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """At most `most` points: means of as many neighbours each; on a log scale what is above 0."""
    pairs = [
        (a, math.log10(b) if log else b) for a, b in zip(x, y, strict=True) if b > 0 or not log
    ]
    width = -(-len(pairs) // max(1, most)) or 1
    groups = [pairs[at : at + width] for at in range(0, len(pairs), width)]
    return (
        [sum(a for a, _ in group) / len(group) for group in groups],
        [sum(b for _, b in group) / len(group) for group in groups],
    )


def _letter_places(points: int, one: Laid) -> list[int]:
    """Where a curve's letter stands: at every value of few, else here and there and at the end, not
    where the others have theirs."""
    if points == 0:
        return []
    if one.marked and points <= 20:
        return list(range(points))
    shift = (one.at % 8 + 1) / 9
    inner = (int((at + shift) * points / LETTERS_ON_A_CURVE) for at in range(LETTERS_ON_A_CURVE))
    return sorted({*(min(at, points - 1) for at in inner), points - 1})
