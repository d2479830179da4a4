"""A text of any length that grows at its end, and costs the ink of its last row."""

from __future__ import annotations

from dataclasses import replace

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget

from tui_lora.ui.markdown_text import AT_MOST, Block, blocks, plain_block

STEP = 4
SHARE = 3
"""A growing text becomes higher by so many rows at once, or a third of the terminal: each time all
of what stands beside it is sent again, and all above it too where it is scrolled."""
TAIL = 4_000
"""Characters of an unfinished block up to which it is looked at with every line that comes."""


class Grown(Widget):
    """What grows with an answer. textual would lay it out and paint it a second time when it is
    told the size that it was given in the layout before."""

    virtual_size = Reactive(Size(0, 0), layout=False, repaint=False)

    def on_resize(self) -> None:
        # Painted in the layout; left here, all of it would be painted with its next row again.
        self._repaint_regions.clear()


class Written(Grown):
    """Blocks that are complete stay as they were drawn; only the end is looked at again."""

    DEFAULT_CSS = "Written { height: auto; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.said = Content("")
        self._text = ""
        self._rendered = False
        self._growing = False
        self._done: list[Block] = []
        self._done_at = 0
        self._settled = 0
        self._done_rows: list[Content] = []
        self._end: list[Block] = []
        self._rows: list[Content] = []
        self._drawn_in = 0
        self._step = STEP

    @property
    def rows(self) -> list[Content]:
        """What is drawn, row by row."""
        return self._rows

    def say(self, content: Content) -> None:
        """Show this, and no text that grows."""
        if not content.is_same(self.said):
            self._begin(rendered=False)
            self._show(content, [Block(content)], running=False)

    def write(self, text: str, *, running: bool, rendered: bool) -> None:
        """Show a text as it is by now: with its Markdown drawn, or as it was written."""
        text = text.lstrip("\n") if running else text.strip("\n")
        rendered = rendered and len(text) <= AT_MOST
        known = (self._text, self._rendered, self._growing)
        if known == (text, rendered, running) and self._rows:
            return
        if rendered != self._rendered or not text.startswith(self._text[: self._done_at]):
            self._begin(rendered=rendered)
        self._text = text
        tail = text[self._done_at :]
        if not running:
            end = blocks(tail) if rendered else [plain_block(tail)]
            end = self._apart(end)
        else:
            lines = text.count("\n")
            # With the first words of a line it is known what the one before has ended.
            if lines != self._settled and not text.endswith("\n"):
                self._settled = lines
                self._settle()
            tail = text[self._done_at :]
            end = self._apart([plain_block(tail)] if tail else [])
        self._show(Content(text), end, running=running)

    def _begin(self, *, rendered: bool) -> None:
        self._text, self._rendered = "", rendered
        self._done, self._done_rows, self._done_at, self._settled = [], [], 0, 0

    def _settle(self) -> None:
        """Put aside what can no longer change: whole lines, or whole blocks of Markdown."""
        tail = self._text[self._done_at :]
        if not self._rendered:
            at = tail.rfind("\n")
            if at > 0:
                self._put_aside([plain_block(tail[:at])], at + 1)
            return
        if len(tail) > TAIL:
            return
        found = blocks(tail)
        # The last one may go on, with the list that it stands in.
        last = found[-1].of if found else 0
        at = sum(len(line) + 1 for line in tail.split("\n")[:last])
        if at:
            self._put_aside(self._apart([block for block in found if block.of < last]), at)

    def _apart(self, end: list[Block]) -> list[Block]:
        """The blocks at the end, with the empty row above them that stood in the text."""
        before = self._text[: self._done_at]
        if self._rendered and end and before.endswith("\n\n"):
            return [replace(end[0], apart=True), *end[1:]]
        return end

    def _put_aside(self, found: list[Block], chars: int) -> None:
        self._done += found
        self._done_at += chars
        if self._drawn_in:
            self._done_rows += [row for block in found for row in block.rows(self._drawn_in)]

    def _show(self, said: Content, end: list[Block], *, running: bool) -> None:
        before, height = self._rows, self._height
        self.said, self._end, self._growing = said, end, running
        if not self._drawn_in:
            self.refresh(layout=True)
            return
        self._draw()
        if self._height != height or (not running and len(before) != len(self._rows)):
            self.refresh(layout=True)
            return
        for y in range(max(len(before), len(self._rows))):
            old = before[y] if y < len(before) else None
            new = self._rows[y] if y < len(self._rows) else None
            if old is None or new is None or not old.is_same(new):
                self.refresh(Region(0, y, self._drawn_in, 1))

    def _draw(self) -> None:
        end = [row for block in self._end for row in block.rows(self._drawn_in)]
        self._rows = [*self._done_rows, *end]

    @property
    def _height(self) -> int:
        count = len(self._rows)
        return max(
            1, -(-count // self._step) * self._step if self._growing and count > 1 else count
        )

    def _fit(self, width: int) -> None:
        if width != self._drawn_in and width > 0:
            self._drawn_in = width
            self._done_rows = [row for block in self._done for row in block.rows(width)]
            self._draw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._step = max(STEP, viewport.height // SHARE)
        self._fit(width)
        return self._height

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        self._fit(width)
        if y >= len(self._rows):
            return Strip([Segment(" " * width, self.rich_style)], width)
        row = self._rows[y]
        if self.text_selection is not None and (span := self.text_selection.get_span(y)):
            start, end = span
            look = self.screen.get_component_rich_style("screen--selection")
            stop = len(row.plain) if end == -1 else end
            row = row.stylize(Style.from_rich_style(look), start, stop)
        strip = Visual.to_strips(self, row, width, 1, self.visual_style, pad=True)[0]
        return strip.apply_offsets(0, y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(row.plain for row in self._rows)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
