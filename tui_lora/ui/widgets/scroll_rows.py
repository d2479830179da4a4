"""Rows of text that scroll: only those in sight are painted, and only those that differ."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

Draw = Callable[[int], list[Content]]
"""Gives the rows for a width in cells."""


class ScrollRows(ScrollView, can_focus=True):
    """`show` what draws the rows; they are drawn anew when the width changes."""

    DEFAULT_CSS = """
    ScrollRows {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._draw: Draw = lambda width: []
        self._rows: list[Content] = []
        self._width = 0

    @property
    def said(self) -> list[Content]:
        return self._rows

    def show(self, draw: Draw, *, home: bool = True) -> None:
        """Show other rows, from the first on or (`home` False) where one reads."""
        self._draw = draw
        if home:
            self.scroll_home(animate=False, immediate=True)
        self._lay_out()

    def _lay_out(self) -> None:
        self._width = self.scrollable_content_region.width
        if self._width < 4:
            return
        before, self._rows = self._rows, self._draw(self._width)
        if len(before) != len(self._rows):
            self.virtual_size = Size(self._width, len(self._rows))
            self.refresh()
            return
        top = self.scroll_offset.y
        for at, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if top <= at < top + self.size.height and not (old is new or old.is_same(new)):
                self.refresh(Region(0, at - top, self.size.width, 1))

    def on_resize(self, event: events.Resize) -> None:
        if self.scrollable_content_region.width != self._width:
            self._lay_out()

    def render_line(self, y: int) -> Strip:
        width, at = self.size.width, y + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[at].truncate(self._width or width)
        return Visual.to_strips(self, row, width, 1, self.visual_style, pad=True)[0]
