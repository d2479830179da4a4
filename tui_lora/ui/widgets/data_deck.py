"""The lower part of the Data screen: the rows one by one, their problems, their lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.inspector import Answered, Inspector
from tui_lora.ui.lengths_text import lossless
from tui_lora.ui.messages import Said, SettingsChanged
from tui_lora.ui.widgets.lengths_view import LengthsView
from tui_lora.ui.widgets.problems_view import ProblemsView
from tui_lora.ui.widgets.row_view import RowView

if TYPE_CHECKING:
    from tui_lora.core.inspect import RowFed
    from tui_lora.ui.dataset_facts import Seen


class DataDeck(Vertical):
    """`show` what the draft asks; `do` one of the actions named in `can`, when it says so.

    Its class `-problems` or `-full-lengths` says what stands in the place of the row.
    """

    class Changed(Message):
        """Other keys mean something now: what is shown is another thing, or more is known."""

    def __init__(self, inspector: Inspector, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._asked = Asked()
        self.rows = RowView(inspector, id="rows")
        self.problems = ProblemsView(id="problems")
        self._lengths = LengthsView(inspector, id="lengths")

    def compose(self) -> ComposeResult:
        yield self.rows
        yield self.problems
        yield self._lengths

    @property
    def fed(self) -> RowFed | None:
        return self.rows.fed

    # What is shown.

    def show(self, asked: Asked) -> None:
        before, self._asked = self._asked, asked
        if asked.look_key != before.look_key:
            self.problems.forget()
        if asked.rows_key != before.rows_key:
            self._show_panel("")
        self.rows.show(asked)
        self._lengths.measure(asked)

    def show_seen(self, seen: Seen) -> None:
        """What a look at the dataset found."""
        self.rows.panes.show_parts({column: part for part, column in seen.parts.items()})
        self.rows.show_total(seen.total or seen.rows, complete=seen.total is not None)

    def open_again(self) -> None:
        """Read and measure everything anew, as it stands on the disk now."""
        self.problems.forget()
        self.rows.open()
        self._lengths.measure(self._asked, anew=True)

    def answered(self, fact: Answered) -> None:
        """The inspect worker's answer to a question that was asked here."""
        if fact.kind == "lengths":
            self._lengths.answered(fact.answer)
            self.post_message(self.Changed())
        else:
            self.rows.answered(fact.answer)

    def worker_ended(self, words: str) -> None:
        if self._asked.data is not None:
            self.rows.worker_ended(words)
            self._lengths.worker_ended()

    def back(self) -> None:
        """Leave off what is going on, and show the row again."""
        if self.problems.busy:
            self.problems.cancel()
        self._show_panel("")

    def check(self, list_to: str) -> None:
        """Check every row, and list every problem in a file."""
        self._show_panel("-problems")
        self.problems.start(self._asked, list_to)
        self.problems.enter()

    def _show_panel(self, name: str) -> None:
        for panel in ("-problems", "-full-lengths"):
            self.set_class(panel == name, panel)
        self.post_message(self.Changed())

    # What the user does.

    @property
    def reads(self) -> bool:
        """Whether a row is in sight."""
        panel = self.has_class("-problems") or self.has_class("-full-lengths")
        return self._asked.data is not None and not panel

    def can(self, action: str) -> bool:
        """Whether an action means something now."""
        if action == "path":
            return True
        if action in ("row", "page", "boundaries", "find"):
            return self.reads
        if action == "turn":
            return self.reads and self.rows.panes.can_turn
        if action in ("only", "list"):
            return self.problems.checked is not None and bool(self.problems.checked.problems)
        if action == "lossless":
            measured = self._lengths.measured
            return measured is not None and lossless(measured) is not None
        return self._asked.data is not None

    def do(self, action: str, *values: Any) -> None:
        """`row`, `page`, `boundaries`, `turn`, `lengths`, `lossless`, `problems` or `only`."""
        getattr(self, f"_do_{action}")(*values)

    def _do_row(self, by: int) -> None:
        self.rows.go(by)

    def _do_page(self, by: int) -> None:
        self.rows.turn_page(by)

    def _do_boundaries(self) -> None:
        self.rows.panes.toggle_boundaries()

    def _do_turn(self) -> None:
        self.rows.turn()

    def _do_lengths(self) -> None:
        self._show_panel("" if self.has_class("-full-lengths") else "-full-lengths")

    def _do_lossless(self) -> None:
        measured = self._lengths.measured
        if measured is None or (length := lossless(measured)) is None:
            return
        whole = measured.rows == measured.of_rows
        of = "no row" if whole else f"none of the {measured.rows:,} rows measured"
        was = f"{length:,} tokens (it was {measured.max_length:,})"
        self.post_message(SettingsChanged({"training.max_length": length}))
        self.post_message(Said(f"Max length is {was}: {of} is cut.", "good"))

    def _do_problems(self) -> None:
        if self.has_class("-problems"):
            self.back()
            self.rows.enter()
            return
        self._show_panel("-problems")
        if self.problems.checked is None and not self.problems.busy:
            self.problems.start(self._asked)
        self.problems.enter()

    def _do_only(self) -> None:
        self._show_panel("")
        self.rows.enter()
        self.rows.toggle_only_problems()

    @on(ProblemsView.Ended)
    def _checked(self, fact: ProblemsView.Ended) -> None:
        fact.stop()
        self.rows.show_problems(self.problems.by_row())
        if fact.checked is not None and self._asked.data is not None:
            # What is mixed in was counted too, and is not leafed through here.
            if not self._asked.data.mix:
                self.rows.show_total(fact.checked.rows, complete=True)
            if fact.checked.listed_in:
                listed = f"every problem is listed in {fact.checked.listed_in}"
                self.post_message(Said(listed, "good"))
        self.post_message(self.Changed())

    @on(ProblemsView.RowChosen)
    def _row_chosen(self, fact: ProblemsView.RowChosen) -> None:
        fact.stop()
        total = self.rows.total
        if total is not None and fact.row >= total:
            self.post_message(Said("That row is of what is mixed in, which is not shown here."))
            return
        self._show_panel("")
        self.rows.enter()
        self.rows.go_to(fact.row)

    @on(RowView.Fed)
    def _row_fed(self, fact: RowView.Fed) -> None:
        fact.stop()
        self.post_message(self.Changed())
