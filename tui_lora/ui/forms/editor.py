"""The field in which a setting is typed, with what is said of it below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from tui_lora.ui.forms.sheet import HINT_ROWS
from tui_lora.ui.widgets.line import Block


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a text that was typed, and the value that it stands for.

    `holds`: it may be kept. `trouble`: something is wrong all the same, perhaps elsewhere.
    """

    value: Any
    sentence: str
    holds: bool = True
    trouble: bool = False


class Editor(Vertical):
    """A field without a box and the rows below it; says how it was left."""

    BINDINGS: ClassVar = [
        Binding("escape", "leave(0, False)", "leave", id="edit.leave", tooltip="as it was before"),
        Binding("up,shift+tab", "leave(-1)", "", False, id="edit.up", tooltip="keep it, go up"),
        Binding("down,tab", "leave(1)", "", False, id="edit.down", tooltip="keep it, go down"),
    ]

    class Left(Message):
        """`keep` what was typed or not, then `move` so many settings."""

        def __init__(self, *, keep: bool, move: int) -> None:
            self.keep = keep
            self.move = move
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._hint = Block(HINT_ROWS)

    def compose(self) -> ComposeResult:
        yield Input(compact=True, select_on_focus=False)
        yield self._hint

    @property
    def field(self) -> Input:
        return self.query_one(Input)

    def begin(self, value: str, placeholder: str) -> None:
        field = self.field
        with self.prevent(Input.Changed):
            field.value = value
        field.placeholder = placeholder
        field.focus()
        # What is typed takes the value's place; an arrow key amends it instead.
        field.select_all()

    def say(self, rows: Sequence[Content]) -> None:
        self._hint.say([Content(" ") + line for line in rows])

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Left(keep=True, move=0))

    def action_leave(self, move: int, keep: bool = True) -> None:
        self.post_message(self.Left(keep=keep, move=move))
