"""Evaluations that are kept: choose the one that Results shows, or compare two; over Results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen

from tui_lora.core.evaluation_sides import Sides, sides, why_not_alike
from tui_lora.store.evaluations import rows_of
from tui_lora.ui import evaluations_text
from tui_lora.ui.ink import dim, ink
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.line import Block, Line, Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.store.evaluations import Kept


class EvaluationsTable(Table):
    BINDINGS = [
        Binding("enter", "open", "show it", id="evaluations.show", tooltip="show it on Results"),
    ]


class EvaluationsScreen(Page):
    """Dismissed with the evaluation to be shown, or with None."""

    TITLE_WORD = "Evaluations"
    CSS_PATH = "evaluations.tcss"
    HELP = (
        "Every evaluation of this session that came to its end, the newest first; ● is the one "
        "that Results shows. m marks one, and c on another lays both side by side, as two "
        "checkpoints of a run."
    )
    BINDINGS = [
        Binding("m", "mark", "mark", id="evaluations.mark", tooltip="mark it to be compared"),
        Binding("c", "compare", "compare", id="evaluations.compare",
                tooltip="lay it beside the marked one"),
        Binding("escape", "back", "back", id="evaluations.back", tooltip="back to the results"),
    ]  # fmt: skip

    def __init__(self, kept: Sequence[Kept], shown: Kept | None) -> None:
        super().__init__()
        self._kept = {str(one.path): one for one in kept}
        self._now = shown
        self._marked: Kept | None = None

    def compose_body(self) -> ComposeResult:
        yield EvaluationsTable(*evaluations_text.COLUMNS, id="table")
        yield Line(id="foot-rule")
        yield Block(2, id="detail")

    def on_mount(self) -> None:
        self._show()
        if self._now is not None:
            self.query_one("#table", EvaluationsTable).point(str(self._now.path))

    def on_resize(self) -> None:
        self.query_one("#foot-rule", Line).say(ink("─" * self.size.width, "$faint"))

    @property
    def _pointed(self) -> Kept | None:
        return self._kept.get(self.query_one("#table", EvaluationsTable).pointed or "")

    def _show(self) -> None:
        rows = [
            evaluations_text.list_row(
                one,
                shown=self._now is not None and one.path == self._now.path,
                marked=self._marked is not None and one.path == self._marked.path,
            )
            for one in self._kept.values()
        ]
        self.query_one("#table", EvaluationsTable).show(rows)
        self._show_detail()
        self.refresh_bindings()

    @on(Table.Pointed)
    def _moved(self, event: Table.Pointed) -> None:
        event.stop()
        self._show_detail()
        self.refresh_bindings()

    def _show_detail(self) -> None:
        one = self._pointed
        rows = evaluations_text.detail_rows(one, self._marked) if one is not None else []
        self.query_one("#detail", Block).say(rows)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "compare" and self.is_attached and self.query("#table"):
            one, marked = self._pointed, self._marked
            return one is not None and marked is not None and one.path != marked.path
        return True

    def action_mark(self) -> None:
        one = self._pointed
        same = one is not None and self._marked is not None and one.path == self._marked.path
        self._marked = None if same else one
        self._show()

    def action_compare(self) -> None:
        if self._marked is not None and self._pointed is not None:
            self.app.push_screen(EvaluationsBeside(self._marked, self._pointed))

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        cast("Screen[Kept | None]", self).dismiss(self._pointed)

    def action_back(self) -> None:
        cast("Screen[Kept | None]", self).dismiss(None)


class Compared(Message, bubble=False):
    """The rows of both were read."""

    def __init__(self, found: tuple[Sides, ...]) -> None:
        self.found = found
        super().__init__()


class BesideTable(Table):
    """Rows to be read: there is nothing behind them to open."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "open"


class EvaluationsBeside(Page):
    """Two evaluations of a session, figure by figure."""

    TITLE_WORD = "Side by side"
    CSS_PATH = "evaluations.tcss"
    HELP = (
        "The tuned model of two evaluations, as two checkpoints of one run, figure by figure. Over "
        "the rows that both measured it is counted how many are better and worse to the right one; "
        "p says how often a fair coin would fall so unevenly. It does not weigh by how much."
    )
    BINDINGS = [
        Binding("x", "swap", "swap", id="beside.swap", tooltip="left becomes right"),
        Binding("escape", "back", "back", id="beside.back", tooltip="back to the list"),
    ]

    def __init__(self, left: Kept, right: Kept) -> None:
        super().__init__()
        self._left, self._right = left, right
        self._found: dict[str, Sides] = {}

    def compose_body(self) -> ComposeResult:
        yield Block(3, id="sides")
        yield BesideTable(*evaluations_text.SIDES, id="table")
        yield Line(id="foot-rule")
        yield Lines(id="words")

    def on_mount(self) -> None:
        self._load()

    def _load(self) -> None:
        one, other = self._left.evaluation, self._right.evaluation
        alike = evaluations_text.alike_row(why_not_alike(one, other))
        heads = [
            evaluations_text.side_head("left", self._left),
            evaluations_text.side_head("right", self._right),
        ]
        self.query_one("#sides", Block).say([*heads, alike])
        self._compare(self._left, self._right)

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _compare(self, left: Kept, right: Kept) -> None:
        rows = rows_of(left), rows_of(right)
        self.post_message(Compared(sides(left.evaluation, right.evaluation, *rows)))

    @on(Compared)
    def _compared(self, fact: Compared) -> None:
        self._found = {one.name: one for one in fact.found}
        rows = evaluations_text.side_rows(fact.found)
        self.query_one("#table", BesideTable).show(rows)
        if not rows:
            self.query_one("#sides", Block).say([dim("these two have no figure in common.")])
        self._show_words()

    @on(Table.Pointed)
    def _show_words(self) -> None:
        one = self._found.get(self.query_one("#table", BesideTable).pointed or "")
        self.query_one("#words", Lines).say(*evaluations_text.side_words(one))

    def on_resize(self) -> None:
        self.query_one("#foot-rule", Line).say(ink("─" * self.size.width, "$faint"))

    def action_swap(self) -> None:
        self._left, self._right = self._right, self._left
        self._load()

    def action_back(self) -> None:
        self.dismiss()
