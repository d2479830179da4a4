"""One row of a dataset twice: as the model will be fed it, and as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content

from tui_lora.ui.ink import ACCENT, dim, fitting, ink, join
from tui_lora.ui.widgets.line import Line, Lines

if TYPE_CHECKING:
    from tui_lora.core.inspect import RowFed


class RowPanes(Vertical):
    """Two panes side by side; with the class `-one` only one of them, which `turn` changes."""

    DEFAULT_CSS = """
    RowPanes {
        height: 1fr;
        & > Horizontal { height: 1fr; }
        & .pane { width: 1fr; height: 1fr; }
        & VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
        & .title { color: $dim; margin: 0 0 1 0; }
        & #fed-pane { padding: 0 3 0 0; }
        &.-one .title { display: none; }
        &.-one .pane { padding: 0; }
        &.-one #written-pane { display: none; }
        &.-one.-turned #written-pane { display: block; }
        &.-one.-turned #fed-pane { display: none; }
        /* Not fed: the reason, and below it what was written. */
        &.-one.-unfed > Horizontal { layout: vertical; }
        &.-one.-unfed #fed-pane, &.-one.-unfed #fed-scroll { display: block; height: auto; }
        &.-one.-unfed #fed-pane { margin: 0 0 1 0; }
        &.-one.-unfed #written-pane { display: block; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._fed: RowFed | None = None
        self._head: list[Content] = []

    def compose(self) -> ComposeResult:
        yield Line(id="row-head")
        with Horizontal():
            with Vertical(id="fed-pane", classes="pane"):
                yield Line(id="fed-title", classes="title")
                with VerticalScroll(id="fed-scroll"):
                    yield Lines(id="fed")
            with Vertical(id="written-pane", classes="pane"):
                yield Line(id="written-title", classes="title")
                with VerticalScroll(id="written-scroll"):
                    yield Lines(id="written")

    def on_mount(self) -> None:
        self.query_one("#written-title", Line).say(dim("as you wrote it"))

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
        self.query_one("#fed-scroll" if self.shows_fed else "#written-scroll").focus()

    def show_head(self, pieces: list[Content]) -> None:
        if self.has_class("-one"):
            pieces = [*pieces, dim("as fed" if self.shows_fed else "as you wrote it")]
        self._head = pieces
        self._draw_head()

    def show_model(self, name: str) -> None:
        title = join(dim("as "), ink(name), dim(" is fed it   "), ("▌", ACCENT), dim(" trained"))
        self.query_one("#fed-title", Line).say(title if name else dim("as a model is fed it"))

    def show_written(self, rows: list[Content]) -> None:
        self.query_one("#written", Lines).say(*rows)
        self.query_one("#written-scroll", VerticalScroll).scroll_home(animate=False)

    def show_fed(self, fed: RowFed) -> None:
        self._fed = fed
        self._set_unfed(False)
        self._draw_fed()
        self.query_one("#fed-scroll", VerticalScroll).scroll_home(animate=False)

    def show_instead(self, *rows: Content) -> None:
        """Say why there is no fed row."""
        self._fed = None
        self._set_unfed(True)
        self.query_one("#fed", Lines).say(*rows)

    def _set_unfed(self, unfed: bool) -> None:
        """The pane that has the keys may go; the one that comes takes them."""
        focused = self.has_focus_within
        self.set_class(unfed, "-unfed")
        if focused and self.has_class("-one"):
            self.enter()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._draw_head)
        self.call_after_refresh(self._draw_fed)

    def _draw_head(self) -> None:
        self.query_one("#row-head", Line).say(fitting(self._head, max(20, self.size.width)))

    def _draw_fed(self) -> None:
        if self._fed is None:
            return
        from tui_lora.ui.row_text import fed_rows

        # The scrollbar may come and go; its column stays free.
        width = self.query_one("#fed-scroll").size.width or self.size.width
        self.query_one("#fed", Lines).say(*fed_rows(self._fed, width - 1))
