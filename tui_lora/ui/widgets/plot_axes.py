"""What we need of textual-plot. It brings numpy, so `loss_plot.py` imports this when idle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Grid
from textual.geometry import Region
from textual.strip import Strip
from textual_hires_canvas import Canvas, HiResMode
from textual_plot import PlotWidget
from textual_plot.axis_formatter import NumericAxisFormatter
from textual_plot.plot_widget import Legend

from tui_lora.core.text import number

BRAILLE = HiResMode.BRAILLE
MARGIN_LEFT = 7


class StillCanvas(Canvas):
    """A canvas that has only those rows painted that look different."""

    def __init__(self, id: str) -> None:
        super().__init__(1, 1, id=id)
        self._painted: list[Strip] = []

    def refresh(self, *regions: Region, layout: bool = False, **how: Any) -> StillCanvas:
        if regions or layout or how or self._refreshes_pending or not self.size.area:
            self._painted = [] if layout else self._painted
            super().refresh(*regions, layout=layout, **how)
            return self
        rows = [self.render_line(y) for y in range(self.size.height)]
        changed = [
            Region(0, y, self.size.width, 1)
            for y, row in enumerate(rows)
            if len(rows) != len(self._painted) or row != self._painted[y]
        ]
        self._painted = rows
        if changed:
            super().refresh(*changed)
        return self

    def draw_rectangle_box(
        self, x0: int, y0: int, x1: int, y1: int, thickness: int = 1, style: str = ""
    ) -> None:
        """The frame that textual-plot asks for, less its top and its right side."""
        self.draw_line(x0, y0, x0, y1, char="│", style=style)
        self.draw_line(x0, y1, x1, y1, char="─", style=style)
        self.set_pixel(x0, y1, char="└", style=style)


class NoLegend(Legend):  # type: ignore[misc]
    """Ours is a line of its own; textual-plot's would lay the screen out anew at each drawing."""

    def update(self, *content: Any, **how: Any) -> None:
        pass


class CurvePlot(PlotWidget, can_focus=False):  # type: ignore[misc,call-arg]
    """A plot that only draws, no keys and no zoom; and draws all of a picture at once."""

    BINDINGS: ClassVar[list[Any]] = []
    _at_work = False

    def __init__(self) -> None:
        super().__init__(allow_pan_and_zoom=False)

    def compose(self) -> ComposeResult:
        with Grid():
            for id in ("margin-top", "margin-left", "plot", "margin-bottom"):
                yield StillCanvas(id)
        yield NoLegend(id="legend")

    def on_mount(self) -> None:
        self.margin_top, self.margin_bottom, self.margin_left = 0, 1, MARGIN_LEFT
        self.set_x_formatter(StepsFormatter())

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Within it curves are set; they are painted at its end, once."""
        self._at_work = True
        try:
            self.clear()
            yield
        finally:
            self._at_work = False
        self.render()

    def refresh(self, *regions: Region, layout: bool = False, **how: Any) -> CurvePlot:
        if layout or not self._at_work:
            super().refresh(*regions, layout=layout, **how)
        return self

    def combine_quad_with_pixel(self, quad: object, canvas: Canvas, x: int, y: int) -> str:
        """No tick marks: the labels stand where the ticks are."""
        return canvas.get_pixel(x, y)[0]

    def render(self) -> Any:
        with ExitStack() as stack:
            for canvas in self.query(StillCanvas):
                stack.enter_context(canvas.batch_refresh())
            return super().render()


class LossFormatter(NumericAxisFormatter):  # type: ignore[misc]
    """Losses in three figures; on a log scale the axis counts in powers of ten."""

    def __init__(self, log: bool) -> None:
        self._log = log

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        step = _nice((max_ - min_) / 4)
        first, last = math.ceil(min_ / step - 1e-9), math.floor(max_ / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        if self._log:
            return [number(10**tick) for tick in ticks]
        gap = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
        return [f"{tick:,.{decimals}f}" for tick in ticks]


class StepsFormatter(NumericAxisFormatter):  # type: ignore[misc]
    """Whole steps, thousands separated."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        ticks: list[float] = super().get_ticks(min_, max_, max_ticks)
        return [tick for tick in ticks if tick == int(tick)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{tick:,.0f}" for tick in ticks]


def _nice(step: float) -> float:
    """The nearest step up of 1, 2 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= step * (1 - 1e-9))
