"""Tokens one after the other in rows, with a cursor; only rows in sight are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
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

from tui_lora.core.chat import TokenShown
from tui_lora.core.token_figures import unlikely
from tui_lora.ui.ink import join
from tui_lora.ui.token_text import BREAK, cell, look


@dataclass(frozen=True)
class Placed:
    """A token's text and the cells that it takes in its row."""

    at: int
    text: str
    start: int
    end: int


def rows_of(texts: Sequence[str], breaks: Sequence[bool], width: int) -> list[list[Placed]]:
    """The tokens in rows of `width` cells, a gap behind each; behind a line break begins another.
    What is wider than a row stands alone in it."""
    rows: list[list[Placed]] = [[]]
    x = 0
    for at, (text, ends) in enumerate(zip(texts, breaks, strict=True)):
        wide = cell_len(text)
        if rows[-1] and x + wide > width:
            rows.append([])
            x = 0
        rows[-1].append(Placed(at, text, x, x + wide))
        x += wide + 1
        if ends:
            rows.append([])
            x = 0
    return rows if rows[-1] or len(rows) == 1 else rows[:-1]


class TokenGrid(ScrollView, can_focus=True):
    """Left and right move by tokens, up and down by rows; posts `Pointed`."""

    BINDINGS = [
        Binding("left,h", "move(-1)", "before", False, id="tokens.left", tooltip="a token back"),
        Binding("right,l", "move(1)", "after", False, id="tokens.right", tooltip="a token on"),
        Binding("up,k", "row(-1)", "up", False, id="tokens.up", tooltip="a row up"),
        Binding("down,j", "row(1)", "down", False, id="tokens.down", tooltip="a row down"),
        Binding("pageup", "page(-1)", "", False, id="tokens.page_up", tooltip="a page up"),
        Binding("pagedown", "page(1)", "", False, id="tokens.page_down", tooltip="a page down"),
        Binding("home", "move(-1000000)", "", False, id="tokens.first", tooltip="the first"),
        Binding("end", "move(1000000)", "", False, id="tokens.last", tooltip="the last"),
    ]
    COMPONENT_CLASSES = {"tokens--cursor"}
    DEFAULT_CSS = """
    TokenGrid {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .tokens--cursor { background: $cursor; text-style: bold reverse; }
    }
    """

    cursor: var[int] = var(0)

    class Pointed(Message):
        """The cursor came to another token."""

        def __init__(self, at: int) -> None:
            self.at = at
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tokens: tuple[TokenShown, ...] = ()
        self._ids = False
        self._rows: list[list[Placed]] = [[]]
        self._row_at: list[int] = []

    @property
    def token(self) -> TokenShown | None:
        return self._tokens[self.cursor] if self._tokens else None

    def show(self, tokens: tuple[TokenShown, ...], *, ids: bool = False) -> None:
        """Show these tokens, or their numbers; the cursor goes to the first of the answer where
        there was none before."""
        first = not self._tokens
        self._tokens, self._ids = tokens, ids
        self._arrange()
        if first:
            answer = (at for at, token in enumerate(tokens) if token.part == "answer")
            self.cursor = next(answer, 0)
        self.call_after_refresh(self._bring_into_sight)

    def _arrange(self) -> None:
        width = max(1, self.size.width - 1)
        texts = [cell(token, ids=self._ids) for token in self._tokens]
        ends = [cell(token).endswith(BREAK) for token in self._tokens]
        self._rows = rows_of(texts, ends, width)
        self._row_at = [y for y, row in enumerate(self._rows) for _ in row]
        self.virtual_size = Size(self.size.width, len(self._rows))
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()
        self._bring_into_sight()

    def validate_cursor(self, cursor: int) -> int:
        return min(max(0, cursor), max(0, len(self._tokens) - 1))

    def watch_cursor(self, before: int, now: int) -> None:
        for at in (before, now):
            if at < len(self._row_at):
                y = self._row_at[at] - self.scroll_offset.y
                if 0 <= y < self.size.height:
                    self.refresh(Region(0, y, self.size.width, 1))
        self._bring_into_sight()
        self.post_message(self.Pointed(now))

    def _bring_into_sight(self) -> None:
        if not self._row_at:
            return
        y, top, room = self._row_at[self.cursor], self.scroll_offset.y, max(1, self.size.height)
        if y < top:
            self.scroll_to(y=y, animate=False)
        elif y >= top + room:
            self.scroll_to(y=y - room + 1, animate=False)

    def action_move(self, by: int) -> None:
        self.cursor += by

    def action_page(self, pages: int) -> None:
        self.action_row(pages * max(1, self.size.height - 1))

    def action_row(self, by: int) -> None:
        """To the token above or below, as near as there is one."""
        if not self._tokens:
            return
        here = self._row_at[self.cursor]
        row = self._rows[min(max(0, here + by), len(self._rows) - 1)]
        x = next(one.start for one in self._rows[here] if one.at == self.cursor)
        self.cursor = min(row, key=lambda one: abs(one.start - x)).at

    def next_unlikely(self) -> bool:
        """Move to the next unlikely token, round and round; False without one."""
        many = len(self._tokens)
        for step in range(1, many + 1):
            at = (self.cursor + step) % many
            if unlikely(self._tokens[at]):
                self.cursor = at
                return True
        return False

    def on_click(self, event: events.Click) -> None:
        y = event.y + self.scroll_offset.y
        for one in self._rows[y] if y < len(self._rows) else ():
            if one.start <= event.x < one.end:
                self.cursor = one.at

    def render_line(self, y: int) -> Strip:
        width, row = self.size.width, y + self.scroll_offset.y
        if row >= len(self._rows):
            return Strip([Segment(" " * width, self.rich_style)], width)
        pieces: list[Content | str | tuple[str, str]] = []
        for one in self._rows[row]:
            pieces.append((one.text, look(self._tokens[one.at])))
            pieces.append(" ")
        content = join(*pieces)
        strip = Visual.to_strips(self, content, width, 1, self.visual_style, pad=True)[0]
        here = next((one for one in self._rows[row] if one.at == self.cursor), None)
        if here is None or not self._tokens:
            return strip
        style = self.get_component_rich_style("tokens--cursor")
        cut = min(here.end, width)
        parts = strip.divide([here.start, cut, width])
        return Strip.join([parts[0], parts[1].apply_style(style), *parts[2:]])
