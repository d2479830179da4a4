"""A dataset checked whole: the progress, the kinds of problems, and each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message

from tui_lora.ui.dataset_checker import Checker, CheckTold
from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.dataset_problems import (
    COLUMNS,
    foot_rows,
    head_row,
    kind_rows,
    problem_table,
    progress_row,
    sentence_of,
)
from tui_lora.ui.ink import WRONG, ink
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.core.check import Checked, CheckProgressed


class ProblemTable(Table):
    BINDINGS = [
        Binding("enter", "open", "to the row", id="problems.open", tooltip="look at this row"),
    ]


class ProblemsView(Vertical):
    """`start` checks, `cancel` leaves off; `Ended` says that something is known, or not."""

    DEFAULT_CSS = """
    ProblemsView {
        height: 1fr;
        & #kinds { margin: 1 0 1 0; max-height: 9; text-wrap: nowrap; text-overflow: ellipsis; }
        & #problem-table { height: 1fr; }
        & #problem-detail { margin: 1 0 0 0; max-height: 4; }
    }
    """

    class Ended(Message):
        """The check is done, or it could not be; `listed_in` is the file that was asked for."""

        def __init__(self, checked: Checked | None, problem: str = "") -> None:
            self.checked = checked
            self.problem = problem
            super().__init__()

    class RowChosen(Message):
        """Enter was pressed on a problem of this row (from 0)."""

        def __init__(self, row: int) -> None:
            self.row = row
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._checker = Checker(self.post_message)
        self._told: CheckProgressed | None = None
        self._failed = ""
        self.checked: Checked | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="check-head")
        yield Lines(id="kinds")
        yield ProblemTable(*COLUMNS, id="problem-table")
        yield Lines(id="problem-detail")

    @property
    def busy(self) -> bool:
        return self._checker.busy

    def by_row(self) -> dict[int, str]:
        """What is wrong, by row; of several problems the first."""
        found: dict[int, str] = {}
        for problem in self.checked.problems if self.checked is not None else ():
            found.setdefault(problem.row, sentence_of(problem))
        return found

    def start(self, asked: Asked, list_to: str | None = None) -> None:
        """Check what the draft asks for; `list_to` gets every problem, a line each."""
        self._told, self._failed = None, ""
        self._checker.check(asked.wire, list_to)
        self._draw()

    def cancel(self) -> None:
        self._checker.cancel()
        self._draw()

    def forget(self) -> None:
        """What was found is of other rows."""
        self._checker.cancel()
        self.checked, self._told, self._failed = None, None, ""
        self._draw()

    def enter(self) -> None:
        self.query_one("#problem-table", Table).focus()

    def on_unmount(self) -> None:
        self._checker.cancel()

    def on_resize(self) -> None:
        self._draw()

    @on(CheckTold)
    def _heard(self, fact: CheckTold) -> None:
        from tui_lora.core.check import Checked, CheckFailed, CheckProgressed

        fact.stop()
        news = fact.news
        if isinstance(news, CheckProgressed):
            self._told = news
            self._draw()
        elif isinstance(news, Checked):
            self.checked = news
            self._draw()
            self.post_message(self.Ended(news))
        elif isinstance(news, CheckFailed):
            self._failed = news.message
            self._draw()
            self.post_message(self.Ended(None, news.message))

    @on(Table.Pointed)
    def _pointed(self, event: Table.Pointed) -> None:
        event.stop()
        self._draw_detail()

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        if self.checked is not None:
            self.post_message(self.RowChosen(self.checked.problems[int(event.key)].row))

    def _draw(self) -> None:
        head, kinds = self.query_one("#check-head", Line), self.query_one("#kinds", Lines)
        width, checked = max(20, self.size.width), self.checked
        if self.busy:
            head.say(progress_row(self._told, width))
        elif self._failed:
            head.say(ink("✗ nothing was checked", WRONG))
        else:
            head.say(head_row(checked, width) if checked is not None else "")
        shown = checked if not self.busy and not self._failed else None
        kinds.say(*(kind_rows(shown, width) if shown is not None else []))
        table = self.query_one("#problem-table", Table)
        table.show(problem_table(shown.problems) if shown is not None else [])
        table.display = bool(shown is not None and shown.problems)
        self._draw_detail()

    def _draw_detail(self) -> None:
        """The problem under the cursor in full, and whether there are more than are listed."""
        at, checked = self.query_one("#problem-table", Table).pointed, self.checked
        rows = [ink(self._failed)] if self._failed else []
        if checked is not None and not self.busy and not self._failed:
            if at is not None and int(at) < len(checked.problems):
                rows.append(ink(sentence_of(checked.problems[int(at)])))
            rows += foot_rows(checked)
        self.query_one("#problem-detail", Lines).say(*rows)
