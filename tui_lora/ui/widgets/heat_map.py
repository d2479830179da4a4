"""A map of cells with a cursor: how large each is by a shade, a glyph and a colour together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.reactive import var
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from tui_lora.ui.ink import dim, ink, join, left, right

SHADES = (("·", "$faint"), ("░", "$dim"), ("▒", "$chart-eval"), ("▓", "$chart-eval"),
          ("█", "$chart-loss"))  # fmt: skip
NOTHING = (" ", "$faint")
MOST_LABEL = 16


@dataclass(frozen=True)
class Scale:
    """Shades share the way from `low` to `high`; what is at or below zero has the first."""

    low: float
    high: float

    def shade(self, value: float | None) -> tuple[str, str]:
        if value is None:
            return NOTHING
        if value <= 0 or self.high <= 0:
            return SHADES[0]
        steps = len(SHADES) - 1
        span = self.high - self.low
        at = int(steps * (value - self.low) / span) if span > 0 else steps - 1
        return SHADES[1 + min(max(at, 0), steps - 1)]

    def bounds(self) -> list[tuple[tuple[str, str], float, float]]:
        """Each shade and from where to where it reaches."""
        steps = len(SHADES) - 1
        width = (self.high - self.low) / steps
        return [
            (SHADES[1 + at], self.low + at * width, self.low + (at + 1) * width)
            for at in range(steps)
        ]


def scale_of(values: Sequence[float | None]) -> Scale:
    """From zero, or from the lowest where all lie in the upper half, which would look alike."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return Scale(low if low > high / 2 else 0.0, high)


class HeatMap(Widget, can_focus=True):
    """Arrows move the cursor; posts `Pointed`. Where there is no room, it scrolls with it."""

    BINDINGS = [
        Binding("left", "move(0,-1)", "", False, id="map.left", tooltip="a layer back"),
        Binding("right", "move(0,1)", "", False, id="map.right", tooltip="a layer on"),
        Binding("up", "move(-1,0)", "", False, id="map.up", tooltip="a row up"),
        Binding("down", "move(1,0)", "", False, id="map.down", tooltip="a row down"),
        Binding("home", "move(0,-100000)", "", False, id="map.first", tooltip="the first layer"),
        Binding("end", "move(0,100000)", "", False, id="map.last", tooltip="the last layer"),
    ]
    DEFAULT_CSS = """
    HeatMap { height: auto; width: 1fr; }
    """
    at: var[tuple[int, int]] = var((0, 0))

    class Pointed(Message):
        """The cursor came to another cell."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._values: tuple[tuple[float | None, ...], ...] = ()
        self._scale = Scale(0.0, 0.0)

    @property
    def scale(self) -> Scale:
        return self._scale

    def show(
        self,
        rows: tuple[str, ...],
        columns: tuple[str, ...],
        values: tuple[tuple[float | None, ...], ...],
    ) -> None:
        """Replace all of it; the cursor stays where it is, as far as that is still there."""
        taller = len(rows) != len(self._rows)
        self._rows, self._columns, self._values = rows, columns, values
        self._scale = scale_of([value for row in values for value in row])
        self.at = self.validate_at(self.at)
        self.refresh(layout=taller)

    def validate_at(self, at: tuple[int, int]) -> tuple[int, int]:
        row = min(max(0, at[0]), max(0, len(self._rows) - 1))
        return row, min(max(0, at[1]), max(0, len(self._columns) - 1))

    def watch_at(self, before: tuple[int, int], now: tuple[int, int]) -> None:
        self.refresh()
        self.post_message(self.Pointed())

    def action_move(self, rows: int, columns: int) -> None:
        self.at = (self.at[0] + rows, self.at[1] + columns)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._rows) + 1

    # Drawing.

    @property
    def _label(self) -> int:
        return min(MOST_LABEL, max((len(row) for row in self._rows), default=0))

    def _window(self) -> tuple[int, int, int]:
        """The cells' width, the first column in sight and how many there are room for."""
        room = max(1, self.size.width - self._label - 2)
        wide = max(1, min(3, room // max(1, len(self._columns))))
        fit = room // wide
        first = max(0, min(self.at[1] - fit // 2, len(self._columns) - fit))
        return wide, first, fit

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        wide, first, fit = self._window()
        columns = range(first, min(first + fit, len(self._columns)))
        if y == 0:
            return self._strip(self._head(wide, columns), width)
        room = max(1, self.size.height - 1)
        top = max(0, min(self.at[0] - room // 2, len(self._rows) - room))
        row = top + y - 1
        if row >= len(self._rows):
            return self._strip(Content(""), width)
        here = row == self.at[0]
        label = right(ink(self._rows[row]) if here else dim(self._rows[row]), self._label)
        cells = [self._cell(row, column, wide) for column in columns]
        return self._strip(join(" ", label, " ", *cells), width)

    def _cell(self, row: int, column: int, wide: int) -> Content:
        glyph, style = self._scale.shade(self._values[row][column])
        if (row, column) == self.at:
            # What is reversed and empty would be a hole.
            look = "bold $background on $foreground" if self.has_focus else "bold reverse"
            return ink(glyph * wide, look)
        return ink(glyph * wide, style)

    def _head(self, wide: int, columns: range) -> Content:
        text = [" "] * (len(columns) * wide)
        until = 0
        for at, column in enumerate(columns):
            name = self._columns[column]
            start = at * wide
            marked = column % 5 == 0 or not name.isdecimal()
            if marked and start >= until and start + len(name) <= len(text):
                text[start : start + len(name)] = name
                until = start + len(name) + 1
        return join(" ", left(dim("layer"), self._label), " ", dim("".join(text)))

    def _strip(self, content: Content, width: int) -> Strip:
        return Visual.to_strips(self, content, width, 1, self.visual_style, pad=True)[0]
