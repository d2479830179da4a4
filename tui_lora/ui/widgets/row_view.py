"""The row viewer: turns through a dataset and has each row fed by the inspect worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer

from tui_lora.core.text import one_line
from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.ink import STRONG, TIGHT, WRONG, dim, ink, join
from tui_lora.ui.inspector import Inspector
from tui_lora.ui.messages import Said
from tui_lora.ui.row_reader import ReadElsewhere, RowFound, RowReader, Searched
from tui_lora.ui.row_words import not_fed, place_of, row_head, worker_ended, working
from tui_lora.ui.row_written import Written, written
from tui_lora.ui.widgets.row_panes import RowPanes

if TYPE_CHECKING:
    from tui_lora.core.inspect import FromInspect, RowFed

PATIENCE_S = 0.3
"""An answer takes milliseconds: until then the figures of the last row stay, and nothing jumps."""


class RowView(Vertical):
    """`show` what the draft asks, `go` through the rows, `answered` what the worker said."""

    DEFAULT_CSS = "RowView { height: 1fr; }"

    class Looked(Message):
        """A search went on: to row `number` (from 0), past `seen` rows, or to the end."""

        def __init__(self, number: int | None, seen: int, *, done: bool) -> None:
            self.number = number
            self.seen = seen
            self.done = done
            super().__init__()

    class Fed(Message):
        """A row was fed, or is not any more."""

    def __init__(self, inspector: Inspector, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._inspector = inspector
        self._reader = RowReader(self.post_message)
        self._asked = Asked()
        self._number = 0
        self._row: Written | None = None
        self._rows: int | None = None
        self._seen = 0
        self._problems: Mapping[int, str] = {}
        self._only: tuple[int, ...] = ()
        self._waiting: Timer | None = None
        self._trying = False
        self.panes = RowPanes()

    def compose(self) -> ComposeResult:
        yield self.panes

    def on_unmount(self) -> None:
        self._reader.stop()

    @property
    def fed(self) -> RowFed | None:
        return self.panes.fed

    @property
    def total(self) -> int | None:
        """How many rows there are, where that is known."""
        return self._rows

    # What is shown.

    def show(self, asked: Asked) -> None:
        """Turn to the dataset that is asked for, or feed the row as it is asked for now."""
        before, self._asked = self._asked, asked
        tried, self._trying = self._trying, False
        model = asked.model
        short = model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model
        self.panes.show_model(one_line(short, max_chars=40))
        if asked.rows_key != before.rows_key:
            self.open()
        elif tried or (asked.fed_key, asked.trouble) != (before.fed_key, before.trouble):
            self._feed()

    def try_out(self, asked: Asked) -> None:
        """The same while settings are being typed: the last row that could be fed stays."""
        if asked.rows_key == self._asked.rows_key:
            self._asked, self._trying = asked, True
            self._feed()

    def open(self) -> None:
        """Turn to the dataset's first row, as it stands on the disk now."""
        self._number, self._row, self._rows, self._seen = 0, None, None, 0
        self._only, self._problems = (), {}
        self.panes.show_row(None)
        self.panes.show_instead()
        self.panes.show_head([])
        self._inspector.drop("feed")
        self._inspector.drop("read")
        self._reader.open(self._asked.data)
        if self._asked.data is not None:
            self._reader.ask(0)

    def show_total(self, rows: int, *, complete: bool) -> None:
        """How many rows there are, or have been seen so far."""
        if complete:
            self._rows = rows
        self._seen = max(self._seen, rows)
        self._show_head()

    def show_problems(self, problems: Mapping[int, str]) -> None:
        """What a check found wrong, by row."""
        self._problems, self._only = problems, ()
        if self._row is not None:
            self.panes.show_row(self._row, problems.get(self._row.number, ""))
        self._show_head()

    def show_one_pane(self, one: bool) -> None:
        self.panes.set_class(one, "-one")
        self._show_head()

    # What the user does.

    def go(self, rows: int) -> None:
        if not self._only:
            self.go_to(self._number + rows)
            return
        ahead = [n for n in self._only if n > self._number]
        behind = [n for n in self._only if n < self._number]
        if rows > 0 and ahead:
            self.go_to(ahead[0])
        elif rows < 0 and behind:
            self.go_to(behind[-1])
        else:
            where = "behind" if rows > 0 else "before"
            self.post_message(Said(f"No row {where} this one has a problem."))

    def go_to(self, number: int) -> None:
        if number < 0 or self._asked.data is None:
            return
        self._number = number
        if self._reader.elsewhere:
            self._read_by_worker(number)
        else:
            self._reader.ask(number)
        self._wait(self._show_reading)

    def toggle_only_problems(self) -> None:
        """Step through the rows with problems only; or through all again."""
        self._only = () if self._only else tuple(sorted(self._problems))
        if self._only and self._number not in self._problems:
            self.go_to(next((n for n in self._only if n > self._number), self._only[0]))
        self._show_head()

    def search(self, text: str) -> None:
        """Go to the next row with this text; `Looked` says how far it came."""
        self.panes.find(text)
        start = self._reader.start_of_search(text, self._number)
        if self._reader.elsewhere:
            from tui_lora.core.inspect import FindText

            self._inspector.ask("find", FindText, spec=self._asked.wire, text=text, start=start)
        else:
            self._reader.find(text, start)

    def stop_search(self) -> None:
        self._reader.stop()
        self._inspector.drop("find")

    def turn(self) -> None:
        """The other pane, where only one has room."""
        self.panes.turn()
        self._show_head()

    def turn_page(self, by: int) -> None:
        self.panes.turn_page(by)
        self._show_head()

    def enter(self) -> None:
        self.panes.enter()

    # What was found.

    @on(RowFound)
    def _row_found(self, fact: RowFound) -> None:
        fact.stop()
        if fact.opened == self._reader.opened and fact.number == self._number:
            self._show_row(fact.row, fact.rows, fact.problem)

    @on(ReadElsewhere)
    def _read_elsewhere(self, fact: ReadElsewhere) -> None:
        fact.stop()
        if fact.opened == self._reader.opened and fact.number == self._number:
            self._read_by_worker(fact.number)

    @on(Searched)
    def _searched(self, fact: Searched) -> None:
        fact.stop()
        if fact.opened == self._reader.opened:
            self._searched_to(fact.number, fact.seen, done=fact.done)

    def _searched_to(self, number: int | None, seen: int, *, done: bool) -> None:
        if number is not None:
            self.go_to(number)
        self._reader.found_none = done and number is None
        self.post_message(self.Looked(number, seen, done=done))

    def answered(self, answer: FromInspect) -> None:
        """The worker's answer to a question that was asked here."""
        from tui_lora.core.inspect import InspectFailed, InspectWorking, RowFed, RowRead, TextFound
        from tui_lora.store.sources import Row

        if isinstance(answer, RowFed) and self._row is not None:
            self._stop_waiting()
            self.panes.show_fed(answer)
            self._show_head()
            self.post_message(self.Fed())
        elif isinstance(answer, RowRead) and answer.row == self._number:
            row = Row(answer.row, answer.line, answer.value, answer.problem, answer.file)
            self._show_row(written(row) if answer.there else None, answer.rows)
        elif isinstance(answer, TextFound):
            self._searched_to(answer.row, 0, done=True)
        elif isinstance(answer, InspectWorking) and answer.id.startswith("find"):
            self._searched_to(None, int(answer.done or 0), done=False)
        elif isinstance(answer, InspectWorking):
            self._instead(working(answer))
        elif isinstance(answer, InspectFailed):
            kind = str(answer.id).partition("-")[0]
            if kind == "feed":
                self._not_fed(answer.message)
            elif kind == "read":
                self._show_row(None, None, answer.message)
            else:
                self.post_message(Said(answer.message, "error"))

    def worker_ended(self, words: str) -> None:
        self._instead(*worker_ended(words))

    def _show_row(self, row: Written | None, rows: int | None, problem: str = "") -> None:
        self._stop_waiting()
        if rows is not None:
            self._rows = rows
        if problem:
            self._row = None
            self.panes.show_no_row(ink(f"✗ {problem}", WRONG))
            self._instead(join(dim("Nothing can be read; "), ("r", STRONG), dim(" tries again.")))
        elif rows == 0:
            self.panes.show_no_row(dim("There is no row in it."))
        elif row is None:
            last = max(0, (self._rows or 1) - 1)
            if self._row is not None and last == self._row.number:
                self._number = last
                self._show_head()
            else:
                self.go_to(last)
            self.post_message(Said(f"Row {last + 1:,} is the last."))
        else:
            self._row = row
            self.panes.show_row(row, self._problems.get(row.number, ""))
            self._feed()

    # The worker is asked.

    def _read_by_worker(self, number: int) -> None:
        from tui_lora.core.inspect import ReadRow

        if self._inspector.state == "ended":
            self.worker_ended("nothing else reads such a dataset")
            return
        self._inspector.ask("read", ReadRow, spec=self._asked.wire, row=number)
        self._wait(self._show_waiting)

    def _feed(self) -> None:
        """Ask for the row as it will be fed; or say why that cannot be."""
        asked, row = self._asked, self._row
        if row is None:
            return
        if (reason := not_fed(asked.model, row.problem)) is not None:
            self._instead(reason)
        elif asked.trouble:
            self._not_fed(asked.trouble)
        elif self._inspector.state == "ended":
            self.worker_ended("it answers no more")
        else:
            from tui_lora.core.inspect import FeedRow

            self._inspector.ask("feed", FeedRow, spec=asked.wire, row=row.number)
            if self._inspector.state == "starting":
                self._show_waiting()
            else:
                self._wait(self._show_waiting)

    def _not_fed(self, why: str) -> None:
        """Say why; above the last good row while settings are being tried."""
        self._stop_waiting()
        if self._trying and self.fed is not None and self.fed.row == self._number:
            self.panes.show_trouble(why)
        else:
            self._instead(ink(f"✗ {why}", WRONG))

    def _wait(self, show: Callable[[], None]) -> None:
        self._stop_waiting()
        self._waiting = self.set_timer(PATIENCE_S, show)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None

    def _show_reading(self) -> None:
        self.panes.show_head([dim(f"reading on to row {self._number + 1:,} …")])

    def _show_waiting(self) -> None:
        if self._trying and self.fed is not None:
            return
        starting = self._inspector.state == "starting"
        words = "starting the inspect worker … about 5 s" if starting else "asking the worker …"
        self._instead(dim(words))

    def _instead(self, *rows: Content) -> None:
        self._stop_waiting()
        self.panes.show_instead(*rows)
        self._show_head()

    def _show_head(self) -> None:
        row = self._row
        if row is None:
            return
        total = "…" if row.number >= self._seen else f"{self._seen:,}+"
        if self._rows is not None:
            total = f"{self._rows:,}"
        pieces = row_head(
            row.number, total, place_of(row, self._asked.path), self.fed, self.panes.page
        )
        if self._only:
            at = sum(number <= row.number for number in self._only)
            pieces.insert(1, ink(f"! problem {at:,} of {len(self._only):,}", TIGHT))
        self.panes.show_head(pieces)
