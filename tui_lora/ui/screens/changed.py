"""What is otherwise than when a run was last at work: a list, before it goes on."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from tui_lora.core.changed import ChangedSince, Difference, How
from tui_lora.core.text import one_line
from tui_lora.ui.ink import BRIGHT, DIM, STRONG, TIGHT, WRONG, ink, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Row, Table

COLUMNS = (
    Column("", 1),
    Column("what", 17, middle=True),
    Column("was", 0, middle=True),
    Column("now", 22, middle=True),
)
LOOKS: dict[How, tuple[str, str]] = {
    "refuse": ("✗", WRONG),
    "ask": ("!", TIGHT),
    "note": ("·", DIM),
}
MOST_ROWS = 9


class ChangedList(Panel[bool]):
    """Dismissed with whether the run goes on; where a checkpoint does not survive it, it cannot."""

    BINDINGS: ClassVar = [
        Binding("escape,q,n", "leave", "leave", id="changed.leave", tooltip="start nothing"),
    ]
    DEFAULT_CSS = """
    ChangedList #changed-title { margin: 0 0 1 1; }
    ChangedList Table { background: $panel; }
    ChangedList #changed-why { margin: 1 0 0 1; height: 4; }
    ChangedList #changed-keys { margin: 1 0 0 1; }
    """

    def __init__(self, name: str, found: ChangedSince) -> None:
        super().__init__()
        self._session, self._found = name, found
        self._by_key = {str(at): one for at, one in enumerate(found.differences)}

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="changed-title")
            yield Table(*COLUMNS)
            yield Lines(id="changed-why")
            yield Line(id="changed-keys")

    def on_mount(self) -> None:
        title = f"Changed since {one_line(self._session, max_chars=40)} was last at work"
        self.query_one("#changed-title", Line).say(ink(title, STRONG))
        table = self.query_one(Table)
        rows = min(MOST_ROWS, len(self._by_key))
        table.styles.height = max(2, rows) + Table.HEADER_ROWS
        table.show([_row(key, one) for key, one in self._by_key.items()])
        table.focus()
        self._show_why()
        goes = "begins anew" if self._found.anew else "goes on with all of it"
        keys = [("Enter", goes), ("Esc", "starts nothing")]
        named = keys if self._found.acceptable else keys[1:]
        self.query_one("#changed-keys", Line).say(keys_row(named))

    @on(Table.Pointed)
    def _pointed(self, event: Table.Pointed) -> None:
        event.stop()
        self._show_why()

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        if self._found.acceptable:
            self.dismiss(True)

    def action_leave(self) -> None:
        self.dismiss(False)

    def _show_why(self) -> None:
        one = self._by_key.get(self.query_one(Table).pointed or "")
        if one is None:
            return
        said = [ink(one_line(one.why))]
        if one.how == "refuse":
            said.append(
                ink("The run cannot go on with it: put it back, or duplicate the run.", WRONG)
            )
        self.query_one("#changed-why", Lines).say(*said)


def _row(key: str, one: Difference) -> Row:
    mark, style = LOOKS[one.how]
    plain = DIM if one.how == "note" else BRIGHT
    cells = (ink(mark, style), ink(one.what, plain), ink(one.was, plain), ink(one.now, plain))
    return Row(key, cells)
