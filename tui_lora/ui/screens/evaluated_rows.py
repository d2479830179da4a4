"""Row by row: what improved and what worsened most; opened over Results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Input

from tui_lora.core.evaluated_rows import OUTCOMES, Kind, Measured, kinds, measured
from tui_lora.core.evaluation import AnswerRow, LossRow
from tui_lora.store.evaluations import rows_of
from tui_lora.ui import evaluated_text
from tui_lora.ui.evaluation_text import of_which, when
from tui_lora.ui.ink import STRONG, dim, fitting, ink, join
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.filter import Filter
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.table import Row, Table

if TYPE_CHECKING:
    from tui_lora.core.evaluated_rows import Outcome
    from tui_lora.store.evaluations import Kept


class RowsRead(Message, bubble=False):
    """The rows of the evaluation, as its file has them."""

    def __init__(self, rows: list[LossRow | AnswerRow]) -> None:
        self.rows = rows
        super().__init__()


class RowsTable(Table):
    """Left and right are the page's: another list."""

    BINDINGS = [
        Binding("enter", "open", "whole", id="rows.open", tooltip="this row whole"),
        Binding("left", "screen.kind(-1)", "list", False, id="rows.list_before",
                tooltip="the list before"),
        Binding("right", "screen.kind(1)", "lists", id="rows.list_after",
                tooltip="the next list"),
    ]  # fmt: skip


class EvaluatedRowsScreen(Page):
    TITLE_WORD = "Rows"
    CSS_PATH = "evaluated.tcss"
    HELP = (
        "Every row that was measured, the most improved first; o turns the order round. Of a loss, "
        "in nats a token, ▼ is better; of a score ▲ is, as of the loss of a bad answer. Left and "
        "right go through the lists: rows by their loss, and answers by each metric. f keeps those "
        "that came from wrong to right, or from right to wrong. A single row says little: half of "
        "all rows change by chance."
    )
    BINDINGS = [
        Binding("o", "order", "order", id="rows.order", tooltip="most worsened or improved first"),
        Binding("f", "outcome", "outcome", id="rows.outcome",
                tooltip="all, wrong to right, right to wrong, or both the same"),
        Binding("slash", "filter", "filter", id="rows.filter", tooltip="rows with these words"),
        Binding("escape", "back", "back", id="rows.back", tooltip="back to the results"),
    ]  # fmt: skip

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept
        self._all: list[LossRow | AnswerRow] | None = None
        self._kinds: tuple[Kind, ...] = ()
        self._at = 0
        self._worst_first = False
        self._outcome: Outcome | None = None
        self._lists: dict[str, list[Measured]] = {}
        self._cells: dict[tuple[str, str], Row] = {}
        self._shown: list[Measured] = []

    def compose_body(self) -> ComposeResult:
        yield Line(id="about")
        yield Line(id="kinds")
        yield Filter("words in the row; Enter back to the list, Esc shows all again")
        yield Empty(id="empty")
        yield RowsTable(*evaluated_text.COLUMNS, id="table")

    def on_mount(self) -> None:
        self.query_one("#about", Line).say(dim("reading the rows …"))
        self._read()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_heads)

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _read(self) -> None:
        self.post_message(RowsRead(list(rows_of(self._kept))))

    @on(RowsRead)
    def _are_read(self, fact: RowsRead) -> None:
        self._all = fact.rows
        self._kinds = kinds(self._kept.evaluation, fact.rows)
        self._show()

    # What is listed.

    @property
    def kind(self) -> Kind | None:
        return self._kinds[self._at] if self._kinds else None

    @property
    def rows(self) -> list[LossRow | AnswerRow]:
        return self._all or []

    def _of(self, kind: Kind) -> list[Measured]:
        if kind.name not in self._lists:
            self._lists[kind.name] = measured(kind, self.rows)
        return self._lists[kind.name]

    def _show(self) -> None:
        kind = self.kind
        if self._all is None:
            return
        words = self.query_one("#filter", Input).value.strip().lower()
        found = self._of(kind) if kind is not None else []
        shown = [
            one
            for one in found
            if (self._outcome is None or one.outcome == self._outcome)
            and (not words or words in _searched(one))
        ]
        # Those without a change stay last in either order.
        known = [one for one in shown if one.change is not None]
        rest = [one for one in shown if one.change is None]
        self._shown = [*(known[::-1] if self._worst_first else known), *rest]
        table = self.query_one(RowsTable)
        table.show([self._row(one, kind) for one in self._shown] if kind is not None else [])
        self.set_class(not self._shown, "-empty")
        if not self._shown:
            about = "No row is like that." if found else "The rows of this evaluation are gone."
            self.query_one(Empty).show(about, ("Esc", "shows all again" if found else "back"))
        elif self.focused is None:
            table.focus()
        self._draw_heads()
        self.refresh_bindings()

    def _row(self, one: Measured, kind: Kind) -> Row:
        key = (kind.name, one.key)
        if key not in self._cells:
            self._cells[key] = evaluated_text.table_row(one, kind)
        return self._cells[key]

    def _draw_heads(self) -> None:
        if self._all is None:
            return
        width = max(40, self.size.width - 2)
        found = self._kept.evaluation
        order = "most worsened first" if self._worst_first else "most improved first"
        pieces = [
            join(ink(f"{len(self._shown):,}", STRONG), dim(" rows")),
            dim(order),
            *([ink(*evaluated_text.OUTCOMES[self._outcome])] if self._outcome else []),
            dim(f"{of_which(found, earlier=self._kept.earlier)}, measured {when(found)}"),
        ]
        self.query_one("#about", Line).say(fitting(pieces, width))
        if self._kinds:
            row = evaluated_text.kinds_row(self._kinds, self._at, width)
            self.query_one("#kinds", Line).say(row)

    # Intents.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached or not self.query("#table"):
            return True
        typing = isinstance(self.focused, Input)
        if action == "kind":
            return len(self._kinds) > 1
        if action == "outcome":
            return self.kind is not None and self.kind.right and not typing
        if action in ("order", "filter"):
            return bool(self._all) and not typing
        return True

    def action_kind(self, by: int) -> None:
        self._at = (self._at + by) % len(self._kinds)
        if self.kind is not None and not self.kind.right:
            self._outcome = None
        self._home()

    def action_order(self) -> None:
        self._worst_first = not self._worst_first
        self._home()

    def action_outcome(self) -> None:
        ways: list[Outcome | None] = [None, *OUTCOMES]
        self._outcome = ways[(ways.index(self._outcome) + 1) % len(ways)]
        self._home()

    def _home(self) -> None:
        self._show()
        self.query_one(RowsTable).cursor = 0

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        from tui_lora.ui.screens.evaluated_row import EvaluatedRowScreen

        event.stop()
        at = next((at for at, one in enumerate(self._shown) if one.key == event.key), None)
        if at is None or self.kind is None:
            return

        def back(at: int | None) -> None:
            if at is not None and at < len(self._shown):
                self.query_one(RowsTable).cursor = at

        screen = EvaluatedRowScreen(self._kept.evaluation, self.kind, self._shown, at, self.rows)
        self.app.push_screen(screen, back)

    def action_filter(self) -> None:
        self.add_class("-filter")
        self.query_one("#filter", Input).focus()
        self.refresh_bindings()

    @on(Input.Changed, "#filter")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._home()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one(RowsTable).focus()

    def action_back(self) -> None:
        field = self.query_one("#filter", Input)
        if field.value or self.has_class("-filter") or self._outcome is not None:
            self.remove_class("-filter")
            self._outcome = None
            field.value = ""
            self._show()
            self.query_one(RowsTable).focus()
            self.refresh_bindings()
        else:
            self.dismiss()


def _searched(one: Measured) -> str:
    row = one.row
    texts = [one.text]
    if isinstance(row, AnswerRow):
        texts += [row.reference, row.base.text, row.tuned.text]
    else:
        texts += [row.label, row.predicted_tuned]
    return "\n".join(texts).lower()
