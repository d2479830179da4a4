"""A question that must be answered before something is done that cannot be undone."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from tui_lora.ui.ink import dim, ink, join
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.widgets.line import Lines


class Question(Panel[bool]):
    """Answered by `y` or by `n` and Esc; `yes` says in a verb what `y` does."""

    BINDINGS = [
        Binding("y", "answer(True)", "yes", id="question.yes", tooltip="do it"),
        Binding("n,escape", "answer(False)", "no", id="question.no", tooltip="leave it as it is"),
    ]

    def __init__(self, question: str, detail: str, yes: str, no: str = "keep it") -> None:
        super().__init__()
        self._rows = (
            ink(question, "bold $foreground"),
            dim(detail),
            join(
                ("y", "bold $wrong"),
                ink(f" {yes}"),
                "      ",
                ("n", "bold $foreground"),
                dim(f" {no}"),
            ),
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Lines(id="question")

    def on_mount(self) -> None:
        question, detail, keys = self._rows
        self.query_one("#question", Lines).say(question, detail, "", keys)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
