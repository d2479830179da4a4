"""A list of rows in fixed columns: a cursor, right-aligned numbers, and one row painted at a time.

textual's DataTable rewrites itself when a cell changes, and its columns do not give way to a narrow
terminal. Here a column may be left out below a width, and one column takes what room is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from tui_lora.core.text import shorten_middle
from tui_lora.ui.ink import dim, join, left, right


@dataclass(frozen=True)
class Column:
    """`width` in cells, 0 for what is left over; hidden in a table narrower than `from_width`.

    `middle`: what is too long is cut in the middle, as names want.
    """

    title: str
    width: int
    numeric: bool = False
    middle: bool = False
    from_width: int = 0


@dataclass(frozen=True)
class Row:
    """`key` names what the row stands for; `cells` in the order of the columns."""

    key: str
    cells: tuple[Content, ...]


class Table(ScrollView, can_focus=True):
    """Rows with a cursor; posts `Pointed` as it moves and `Opened` at Enter."""

    BINDINGS = [
        Binding("up,k", "move(-1)", "up", False, id="table.up", tooltip="one row up"),
        Binding("down,j", "move(1)", "down", False, id="table.down", tooltip="one row down"),
        Binding("pageup", "page(-1)", "page up", False, id="table.page_up", tooltip="a page up"),
        Binding("pagedown", "page(1)", "page down", False, id="table.page_down", tooltip="down"),
        Binding("home", "move(-1000000)", "first", False, id="table.first", tooltip="first row"),
        Binding("end", "move(1000000)", "last", False, id="table.last", tooltip="last row"),
        Binding("enter", "open", "open", id="table.open", tooltip="open the row"),
    ]
    COMPONENT_CLASSES = {"table--cursor", "table--cursor-blurred"}
    DEFAULT_CSS = """
    Table {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .table--cursor { background: $cursor; text-style: bold; }
        & > .table--cursor-blurred { background: $cursor; }
    }
    """
    HEADER_ROWS = 1

    cursor: var[int] = var(0)

    class Pointed(Message):
        """The cursor came to another row."""

        def __init__(self, table: Table, key: str) -> None:
            self.table = table
            self.key = key
            super().__init__()

    class Opened(Message):
        """Enter was pressed on a row."""

        def __init__(self, table: Table, key: str) -> None:
            self.table = table
            self.key = key
            super().__init__()

    def __init__(self, *columns: Column, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._rows: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def pointed(self) -> str | None:
        """The key of the row under the cursor; None in an empty table."""
        return self._rows[self.cursor].key if self._rows else None

    def show(self, rows: Sequence[Row]) -> None:
        """Replace the rows; the cursor stays on its row, and only changed rows are painted."""
        before, here = self._rows, self.pointed
        self._rows = tuple(rows)
        keys = [row.key for row in self._rows]
        at = keys.index(here) if here in keys else min(self.cursor, max(0, len(keys) - 1))
        if len(before) != len(self._rows):
            self.virtual_size = Size(self.size.width, len(self._rows) + self.HEADER_ROWS)
            self.refresh()
            # A list that became longer can be scrolled only once it is laid out.
            self.call_after_refresh(self._bring_into_sight)
        else:
            for index, (old, new) in enumerate(zip(before, self._rows, strict=True)):
                if not _same(old, new):
                    self._paint(index)
        if bool(before) != bool(self._rows):
            self.refresh_bindings()
        if at != self.cursor:
            self.cursor = at
        elif self.pointed != here and self.pointed is not None:
            self.post_message(self.Pointed(self, self.pointed))

    def point(self, key: str) -> None:
        """Move the cursor to a row, if it is there."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self.cursor = index

    def validate_cursor(self, cursor: int) -> int:
        return min(max(0, cursor), max(0, len(self._rows) - 1))

    def watch_cursor(self, before: int, now: int) -> None:
        self._paint(before)
        self._paint(now)
        self._bring_into_sight()
        if self.pointed is not None:
            self.post_message(self.Pointed(self, self.pointed))

    def _bring_into_sight(self) -> None:
        room = max(1, self.size.height - self.HEADER_ROWS)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + room:
            self.scroll_to(y=self.cursor - room + 1, animate=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._rows) if action == "open" else True

    def action_move(self, rows: int) -> None:
        self.cursor += rows

    def action_page(self, pages: int) -> None:
        self.cursor += pages * max(1, self.size.height - self.HEADER_ROWS)

    def action_open(self) -> None:
        if self.pointed is not None:
            self.post_message(self.Opened(self, self.pointed))

    def on_click(self, event: events.Click) -> None:
        index = self.scroll_offset.y + event.y - self.HEADER_ROWS
        if event.y < self.HEADER_ROWS or index >= len(self._rows):
            return
        if index == self.cursor:
            self.action_open()
        self.cursor = index

    def on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self._rows) + self.HEADER_ROWS)
        self._bring_into_sight()

    def on_focus(self) -> None:
        self._paint(self.cursor)

    def on_blur(self) -> None:
        self._paint(self.cursor)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < self.HEADER_ROWS:
            # Titles over nothing would only ask what is missing.
            titles = tuple(dim(column.title if self._rows else "") for column in self._columns)
            return self._strip(self._laid_out(titles, width), "", width)
        index = self.scroll_offset.y + y - self.HEADER_ROWS
        if index >= len(self._rows):
            return Strip([Segment(" " * width, self.rich_style)], width)
        component = ""
        if index == self.cursor:
            component = "table--cursor" if self.has_focus else "table--cursor-blurred"
        return self._strip(self._laid_out(self._rows[index].cells, width), component, width)

    def _strip(self, content: Content, component: str, width: int) -> Strip:
        style = self.get_visual_style(component) if component else self.visual_style
        return Visual.to_strips(self, content, width, 1, style, pad=True)[0]

    def _laid_out(self, cells: Sequence[Content], width: int) -> Content:
        shown = [
            (column, cell)
            for column, cell in zip(self._columns, cells, strict=False)
            if width >= column.from_width
        ]
        room = self.room(width)
        parts = [_fitted(cell, column, column.width or room) for column, cell in shown]
        return join(" ", Content("  ").join(parts))

    def room(self, width: int) -> int:
        """The cells of a column that takes what is left over, in a table of `width`."""
        shown = [column for column in self._columns if width >= column.from_width]
        fixed = sum(column.width + 2 for column in shown if column.width)
        spare = sum(1 for column in shown if not column.width) or 1
        return max(6, (width - fixed - 2) // spare - 1)

    def _paint(self, index: int) -> None:
        y = index - self.scroll_offset.y + self.HEADER_ROWS
        if self.HEADER_ROWS <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))


def _fitted(cell: Content, column: Column, width: int) -> Content:
    if column.numeric:
        return right(cell, width)
    if column.middle and cell.cell_length > width:
        style = cell.spans[0].style if cell.spans else ""
        cell = Content.styled(shorten_middle(cell.plain, width), style)
    return left(cell, width)


def _same(a: Row, b: Row) -> bool:
    return (
        a.key == b.key
        and len(a.cells) == len(b.cells)
        and all(x.is_same(y) for x, y in zip(a.cells, b.cells, strict=True))
    )
