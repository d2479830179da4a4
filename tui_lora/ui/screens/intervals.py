"""Settings that a running run takes on at once, as how often it reports and saves: a form over the
Train screen."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from tui_lora.core.spec import RunSpec
from tui_lora.ui.forms.editor import Verdict
from tui_lora.ui.forms.entry import Entry, setting_at, value_of
from tui_lora.ui.forms.form import Form
from tui_lora.ui.forms.judged import judged
from tui_lora.ui.forms.rows import Rows
from tui_lora.ui.ink import STRONG, TIGHT, dim, fitting, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Line

INTERVALS = (
    "evaluation.log_every_steps",
    "evaluation.every_steps",
    "evaluation.save_every_steps",
    "evaluation.keep",
)


class IntervalsForm(Panel[dict[str, Any]]):
    """Dismissed with the new values by setting, or with None."""

    BINDINGS: ClassVar = [
        Binding("a", "apply", "apply", id="intervals.apply", tooltip="from the next step on"),
        Binding("escape,q", "leave", "leave", id="intervals.leave", tooltip="change nothing"),
    ]
    AUTO_FOCUS = "Rows"
    DEFAULT_CSS = """
    IntervalsForm Form { height: 7; margin: 1 0; }
    IntervalsForm Rows { background: $panel; }
    """

    def __init__(self, spec: RunSpec, paths: tuple[str, ...] = INTERVALS) -> None:
        super().__init__()
        self._paths = paths
        self._before = Draft(data=spec.model_dump(mode="json"))
        self._draft = self._before

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="intervals-about")
            yield Form(self._judge, headed=False)
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        self.query_one("#intervals-about", Line).say(
            dim("From the next step on, and in every later attempt.")
        )
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _judge(self, path: str, text: str) -> Verdict:
        return judged(self._draft, path, text)

    @on(Rows.Opened)
    def _opened(self, event: Rows.Opened) -> None:
        event.stop()
        self.query_one(Form).edit(event.path)

    @on(Form.Given)
    def _given(self, event: Form.Given) -> None:
        event.stop()
        self._draft = self._draft.changed({event.path: event.value})
        self._show()

    def action_apply(self) -> None:
        form = self.query_one(Form)
        if form.leave_edit():
            self.dismiss(self._changes() or None)

    def action_leave(self) -> None:
        self.dismiss(None)

    def _changes(self) -> dict[str, Any]:
        return {
            path: value_of(self._draft, path)
            for path in self._paths
            if value_of(self._draft, path) != value_of(self._before, path)
        }

    def _show(self) -> None:
        self.query_one(Form).show(
            [Entry(setting_at(path), value_of(self._draft, path)) for path in self._paths]
        )
        keys = [("Enter", "edits"), ("Esc", "leaves it as it is")]
        row = self.query_one("#form-keys", Line)
        said = [keys_row(keys)]
        if count := len(self._changes()):
            many = "1 change" if count == 1 else f"{count} changes"
            said.insert(0, join(("a", STRONG), ink(f" applies {many}", TIGHT)))
        row.say(fitting(said, row.size.width or self.app.size.width))
