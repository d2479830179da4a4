"""The row viewer: turns through a dataset and has each row fed by the tokenizer worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.timer import Timer

from tui_lora.store.paths import DEMO_MODEL, is_there, model_place
from tui_lora.ui.ink import STRONG, WRONG, dim, ink, join
from tui_lora.ui.inspector import Inspector, InspectorChanged, RowAnswered
from tui_lora.ui.messages import Said
from tui_lora.ui.row_reader import RowRead, RowReader
from tui_lora.ui.widgets.row_panes import RowPanes

if TYPE_CHECKING:
    from tui_lora.core.inspect import RowFed
    from tui_lora.store.dataset import Row

PATIENCE_S = 0.3
"""An answer takes milliseconds: until then the figures of the last row stay, and nothing jumps."""


class RowView(Vertical):
    """`open` a dataset, `feed_with` a model, `go` through the rows."""

    DEFAULT_CSS = "RowView { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._inspector = Inspector(self.post_message)
        self._reader = RowReader(self.post_message)
        self._path = ""
        self._number = 0
        self._row: Row | None = None
        self._rows: int | None = None
        self._seen = 0
        self._fed: RowFed | None = None
        self._settings: dict[str, Any] = {}
        self._question = 0
        self._waiting: Timer | None = None

    def compose(self) -> ComposeResult:
        yield RowPanes()

    @property
    def panes(self) -> RowPanes:
        return self.query_one(RowPanes)

    def on_mount(self) -> None:
        # Importing takes seconds, so it begins before there is anything to ask.
        self._inspector.start()

    def on_unmount(self) -> None:
        self._inspector.close()
        self._reader.close()

    def feed_with(self, **settings: Any) -> None:
        """The draft's `model`, `format`, `loss_on` and `max_length`."""
        if settings == self._settings:
            return
        self._settings = settings
        self.panes.show_model(_short(str(settings["model"])))
        if self._row is not None:
            self._feed()

    def open(self, path: str) -> None:
        """Turn to another file's first row."""
        self._path, self._number, self._row, self._fed = path, 0, None, None
        self._rows, self._seen = None, 0
        self.panes.show_written([])
        self.panes.show_instead()
        if self._inspector.state == "ended":
            self._inspector.start()
        self._reader.open(path)
        if path:
            self._reader.ask(0)

    def show_total(self, rows: int, *, complete: bool) -> None:
        """How many rows there are, or have been seen so far."""
        if complete:
            self._rows = rows
        self._seen = rows
        self._show_head()

    def go(self, rows: int) -> None:
        self.go_to(self._number + rows)

    def go_to(self, number: int) -> None:
        if number < 0 or not self._path:
            return
        self._number = number
        self._reader.ask(number)
        self._wait(self._show_reading)

    def show_one_pane(self, one: bool) -> None:
        self.panes.set_class(one, "-one")
        self._show_head()

    def turn(self) -> None:
        """The other pane, where only one has room."""
        self.panes.turn()
        self._show_head()

    def enter(self) -> None:
        self.panes.enter()

    @on(RowRead)
    def _row_read(self, fact: RowRead) -> None:
        if fact.path != self._path or fact.number != self._number:
            return
        self._stop_waiting()
        if fact.rows is not None:
            self._rows = fact.rows
        if fact.problem:
            self.panes.show_written([ink(f"✗ {fact.problem}", WRONG)])
            return
        if fact.rows == 0:
            self.panes.show_written([dim("The file holds no row.")])
            return
        if fact.row is None:
            last = (self._rows or 1) - 1
            if self._row is not None and last == self._row.number:
                self._number = last
            else:
                self.go_to(last)
            self.post_message(Said(f"Row {last + 1:,} is the last."))
            return
        from tui_lora.ui.row_text import written_rows

        self._row = fact.row
        self.panes.show_written(written_rows(fact.row))
        self._feed()

    def _feed(self) -> None:
        """Ask for the row as it will be fed; or say why that cannot be."""
        settings, row = self._settings, self._row
        model = str(settings["model"])
        if row is None:
            return
        if not model:
            words = "Which tokens this becomes depends on the model: choose one with "
            self._instead(join(dim(words), ("2", STRONG), dim(".")))
        elif row.problem:
            self._instead(dim("A row that cannot be read is not fed."))
        elif model == DEMO_MODEL and not is_there(Path(model_place(DEMO_MODEL))):
            self._instead(dim("The demo model is fetched when the run starts; then this is known."))
        elif self._inspector.state == "ended":
            self._instead(ink("✗ the tokenizer worker ended.", WRONG), dim("r starts it again."))
        else:
            self._ask(model, row.number)

    def _ask(self, model: str, number: int) -> None:
        from pydantic import ValidationError

        from tui_lora.core.inspect import FeedRow

        self._question += 1
        settings = self._settings
        try:
            question = FeedRow(
                id=str(self._question),
                model=model,
                path=self._path,
                format=settings["format"],
                loss_on=settings["loss_on"],
                max_length=settings["max_length"],
                row=number,
            )
        except ValidationError:
            self._instead(ink("✗ the draft's max length or loss on is not valid.", WRONG))
            return
        self._inspector.ask(question)
        if self._inspector.state == "starting":
            self._show_waiting()
        else:
            self._wait(self._show_waiting)

    def _wait(self, show: Callable[[], None]) -> None:
        self._stop_waiting()
        self._waiting = self.set_timer(PATIENCE_S, show)

    def _show_reading(self) -> None:
        self.panes.show_head([dim(f"reading on to row {self._number + 1:,} …")])

    def _show_waiting(self) -> None:
        words = "asking the tokenizer worker …"
        if self._inspector.state == "starting":
            words = "starting the tokenizer worker … about 5 s"
        self._instead(dim(words))

    def _instead(self, *rows: Any) -> None:
        self._stop_waiting()
        self._fed = None
        self.panes.show_instead(*rows)
        self._show_head()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None

    @on(RowAnswered)
    def _answered(self, fact: RowAnswered) -> None:
        from tui_lora.core.inspect import InspectFailed, RowFed

        answer = fact.answer
        if getattr(answer, "id", None) != str(self._question) or self._row is None:
            return
        if isinstance(answer, RowFed):
            self._stop_waiting()
            self._fed = answer
            self.panes.show_fed(answer)
            self._show_head()
        elif isinstance(answer, InspectFailed):
            self._instead(ink(f"✗ {answer.message}", WRONG))

    @on(InspectorChanged)
    def _inspector_changed(self, fact: InspectorChanged) -> None:
        if fact.state == "ended":
            why = ink(f"✗ the tokenizer worker ended: {fact.words}", WRONG)
            self._instead(why, dim("r starts it again."))

    def _show_head(self) -> None:
        if self._row is None:
            return
        from tui_lora.ui.row_text import row_head

        line = None if self.panes.has_class("-one") else self._row.line
        total = "…" if self._row.number >= self._seen else f"{self._seen:,}+"
        if self._rows is not None:
            total = f"{self._rows:,}"
        self.panes.show_head(row_head(self._row.number, total, line, self._fed))


def _short(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model
