"""One row of a dataset twice: as the model will be fed it, and as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content

from tui_lora.core.text import one_line
from tui_lora.ui.ink import ACCENT, WRONG, dim, fitting, ink, join
from tui_lora.ui.row_fed import fed_rows, pages
from tui_lora.ui.row_written import written_rows
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.scroll_rows import ScrollRows

if TYPE_CHECKING:
    from tui_lora.core.inspect import RowFed
    from tui_lora.ui.row_written import Written


class RowPanes(Vertical):
    """Two panes side by side; with the class `-one` only one of them, which `turn` changes."""

    DEFAULT_CSS = """
    RowPanes {
        height: 1fr;
        & > Horizontal { height: 1fr; }
        & .pane { height: 1fr; }
        & .title { color: $dim; margin: 0 0 1 0; }
        & #fed-pane { width: 3fr; padding: 0 2 0 0; }
        & #written-pane { width: 2fr; }
        &.-one .title { display: none; }
        &.-one.-troubled #fed-title { display: block; margin: 0; }
        &.-one #fed-pane, &.-one #written-pane { padding: 0; width: 1fr; }
        &.-one #written-pane { display: none; }
        &.-one.-turned #written-pane { display: block; }
        &.-one.-turned #fed-pane { display: none; }
        /* Not fed: the reason, and below it what was written. */
        &.-one.-unfed > Horizontal { layout: vertical; }
        &.-one.-unfed #fed-pane { display: block; height: 3; }
        &.-one.-unfed #written-pane { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._head: list[Content] = []
        self._written: Written | None = None
        self._plays: Mapping[str, str] = {}
        self._problem = self._find = self._model = ""
        self.fed: RowFed | None = None
        self.page = 0
        self.boundaries = False

    def compose(self) -> ComposeResult:
        yield Line(id="row-head")
        with Horizontal():
            with Vertical(id="fed-pane", classes="pane"):
                yield Line(id="fed-title", classes="title")
                yield ScrollRows(id="fed")
            with Vertical(id="written-pane", classes="pane"):
                yield Line(id="written-title", classes="title")
                yield ScrollRows(id="written")

    def on_mount(self) -> None:
        self.query_one("#written-title", Line).say(dim("as you wrote it"))

    # Which pane is seen.

    @property
    def shows_fed(self) -> bool:
        return not self.has_class("-unfed") and not (
            self.has_class("-one") and self.has_class("-turned")
        )

    @property
    def can_turn(self) -> bool:
        return self.has_class("-one") and not self.has_class("-unfed")

    def turn(self) -> None:
        """The other pane, where only one has room."""
        focused = self.has_focus_within
        self.toggle_class("-turned")
        if focused:
            self.enter()

    def enter(self) -> None:
        """Give the keys to the pane that is read, so that they scroll it."""
        self.query_one("#fed" if self.shows_fed else "#written").focus()

    # The head.

    def show_head(self, pieces: list[Content]) -> None:
        if self.has_class("-one") and pieces:
            pieces = [*pieces, dim("as fed" if self.shows_fed else "as you wrote it")]
        self._head = pieces
        self._draw_head()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._draw_head)

    def _draw_head(self) -> None:
        self.query_one("#row-head", Line).say(fitting(self._head, max(20, self.size.width)))

    # As it was written.

    def show_row(self, row: Written | None, problem: str = "") -> None:
        """`problem` is what a check found wrong with it."""
        self._written, self._problem = row, problem
        self._draw_written()

    def show_no_row(self, words: Content) -> None:
        self._written = None
        self.query_one("#written", ScrollRows).show(lambda width: words.wrap(max(10, width)))

    def show_parts(self, plays: Mapping[str, str]) -> None:
        """Which part of an example each column plays."""
        if plays != self._plays:
            self._plays = plays
            self._draw_written()

    def find(self, text: str) -> None:
        """Show where a text stands in the row; nothing for an empty one."""
        self._find = text
        self._draw_written()

    def _draw_written(self) -> None:
        if self._written is None:
            self.query_one("#written", ScrollRows).show(lambda width: [])
            return
        rows = written_rows(self._written, self._plays, problem=self._problem, find=self._find)

        def draw(width: int) -> list[Content]:
            return [part for row in rows for part in row.wrap(max(10, width))]

        self.query_one("#written", ScrollRows).show(draw)

    # As it is fed.

    def show_model(self, name: str) -> None:
        self._model = name
        self._draw_title()

    def show_fed(self, fed: RowFed) -> None:
        """Another row from its start; the same one as it is fed now where one reads."""
        home = self.fed is None or self.fed.row != fed.row
        self.page = 0 if home else min(self.page, pages(fed) - 1)
        self.fed = fed
        self._set_unfed(False)
        self._draw_title()
        self._draw_fed(home=home)

    def show_trouble(self, why: str) -> None:
        """Say what is wrong, above the row as it was before."""
        self._draw_title(why)

    def show_instead(self, *rows: Content) -> None:
        """Say why there is no fed row."""
        self.fed, self.page = None, 0
        self._set_unfed(True)
        self._draw_title()
        self.query_one("#fed", ScrollRows).show(
            lambda width: [part for row in rows for part in row.wrap(max(10, width))]
        )

    def turn_page(self, by: int) -> None:
        """Another of the sequences that the row becomes."""
        if self.fed is not None and pages(self.fed) > 1:
            self.page = (self.page + by) % pages(self.fed)
            self._draw_fed(home=True)

    def toggle_boundaries(self) -> None:
        self.boundaries = not self.boundaries
        self._draw_fed(home=False)

    def _draw_fed(self, *, home: bool) -> None:
        fed, page, boundaries = self.fed, self.page, self.boundaries
        if fed is None:
            return

        def draw(width: int) -> list[Content]:
            return fed_rows(fed, width, page=page, boundaries=boundaries)

        self.query_one("#fed", ScrollRows).show(draw, home=home)

    def _draw_title(self, trouble: str = "") -> None:
        self.set_class(bool(trouble), "-troubled")
        if trouble:
            title = ink(f"✗ {one_line(trouble, max_chars=300)}", WRONG)
        elif self._model:
            title = join(dim("as "), ink(self._model), dim(" is fed it"))
            if self.fed is not None and self.fed.template:
                title = join(title, dim(f" · {one_line(self.fed.template, max_chars=40)} template"))
            title = join(title, ("   ▌", ACCENT), dim(" learned"))
        else:
            title = dim("as a model is fed it")
        self.query_one("#fed-title", Line).say(title)

    def _set_unfed(self, unfed: bool) -> None:
        """The pane that has the keys may go; the one that comes takes them."""
        focused = self.has_focus_within
        self.set_class(unfed, "-unfed")
        if focused and self.has_class("-one"):
            self.enter()
