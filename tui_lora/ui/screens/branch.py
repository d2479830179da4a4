"""A new session from a checkpoint: its name, its settings, and how it begins, before it is made."""

from __future__ import annotations

import textwrap
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content

from tui_lora.core.branching import branching
from tui_lora.core.resumable import as_it_ran
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.ui.forms.entry import NAME, Entry, settings, value_of
from tui_lora.ui.forms.form import Form
from tui_lora.ui.forms.judged import judged
from tui_lora.ui.ink import STRONG, TIGHT, WRONG, dim, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Line, Lines

AROUND_ROWS = 13
"""Border, padding, what stands above and below the form, and the gaps between."""
PANEL_SHARE = 0.8
MOST_ROWS = 20
SAID_ROWS = 4


class BranchForm(Panel[tuple[str, dict[str, Any]] | None]):
    """Dismissed with the name and the new values by setting, or with None. `before` is what the
    parent trains with, `became` what it made of each `auto`."""

    BINDINGS: ClassVar = [
        Binding("a", "make", "make it", id="branch.make", tooltip="make the branch and start it"),
        Binding("escape,q", "leave", "leave", id="branch.leave", tooltip="make none"),
    ]
    AUTO_FOCUS = "Rows"
    DEFAULT_CSS = """
    BranchForm Form { margin: 1 0; }
    BranchForm Rows { background: $panel; }
    BranchForm #how { height: 4; margin: 0 0 1 0; }
    """

    def __init__(
        self, parent: str, step: int, name: str, before: RunSpec, became: dict[str, str]
    ) -> None:
        super().__init__()
        self._parent_name, self._step = parent, step
        self._source = as_it_ran(before, became)
        self._before = Draft(name=name, data=before.model_dump(mode="json"))
        self._draft = self._before
        self._can = True

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="from")
            yield Form(self._judge)
            yield Lines(id="how")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        whose = one_line(self._parent_name, max_chars=40)
        self.query_one("#from", Line).say(
            join(ink("a branch", STRONG), dim(f" from {whose} at step {self._step:,}"))
        )
        self._show()

    def on_resize(self) -> None:
        room = int(PANEL_SHARE * self.app.size.height) - AROUND_ROWS
        self.query_one(Form).styles.height = min(MOST_ROWS, max(3, room))
        self.call_after_refresh(self._show)

    def _judge(self, path: str, text: str) -> Any:
        return judged(self._draft, path, text)

    @on(Form.Given)
    def _given(self, event: Form.Given) -> None:
        event.stop()
        if event.path == NAME.path:
            self._draft = Draft(str(event.value), self._draft.data)
        else:
            self._draft = self._draft.changed({event.path: event.value})
        self._show()

    def action_make(self) -> None:
        if self.query_one(Form).leave_edit() and self._can and self._draft.name:
            self.dismiss((self._draft.name, self._changes()))

    def action_leave(self) -> None:
        self.dismiss(None)

    def _changes(self) -> dict[str, Any]:
        paths = (one.path for one in settings() if one is not NAME)
        return {
            path: value_of(self._draft, path)
            for path in paths
            if value_of(self._draft, path) != value_of(self._before, path)
        }

    def _show(self) -> None:
        changes = self._changes()
        self.query_one(Form).show(
            [Entry(setting, value_of(self._draft, setting.path)) for setting in settings()]
        )
        _, problems = self._draft.check()
        how = branching(self._source, changes)
        wrong = [*problems, *how.refused]
        self._can = not wrong
        width = max(40, self.app.size.width - 8)
        said: list[Content] = []
        for problem in wrong:
            said += [ink(row, WRONG) for row in textwrap.wrap(f"✗ {problem}", width)]
        if not wrong:
            style = "" if how.way == "exact" else TIGHT
            said = [ink(row, style) for row in textwrap.wrap(how.words(self._step), width)]
            said += [ink(f"! {one_line(note)}.", TIGHT) for note in how.notes]
        self.query_one("#how", Lines).say(*said[:SAID_ROWS])
        keys = [("Enter", "edits"), ("Esc", "makes none")]
        if self._can:
            count = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
            with_them = f" with {count}" if changes else ""
            keys.insert(0, ("a", f"makes it{with_them} and starts it"))
        row = self.query_one("#form-keys", Line)
        row.say(keys_row(keys, row.size.width))
