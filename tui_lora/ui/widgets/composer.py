"""Where a message is written: one row, several lines, and the messages sent before."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.widgets import Input

from tui_lora.core.text import clean, one_line

BREAK = "⏎"
"""How a line break looks in one row; it is one again when the message is sent."""


class Composer(Input):
    """Keeps line breaks of what is pasted; up and down go through what was sent."""

    BINDINGS = [
        Binding("enter", "submit", "send", id="composer.send", tooltip="send the message"),
        Binding("up", "recall(-1)", "earlier", False, id="composer.up", tooltip="what you sent"),
        Binding("down", "recall(1)", "later", False, id="composer.down", tooltip="what you sent"),
        Binding(
            "ctrl+j,alt+enter",
            "break_line",
            "line break",
            False,
            id="composer.break",
            tooltip="a line break in the message",
        ),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False
        self._sent: list[str] = []
        self._at = 0

    @property
    def text(self) -> str:
        """The message as it will be sent."""
        return clean(self.value.replace(BREAK, "\n")).strip()

    def write(self, text: str) -> None:
        """Put a text in the place of what is there, ready to be sent or changed."""
        self.value = one_line(text)
        self.cursor_position = len(self.value)

    def take(self) -> str:
        """The message, which leaves the row empty and can be recalled."""
        text = self.text
        if self.value and self.value not in self._sent[-1:]:
            self._sent.append(self.value)
        self._at = len(self._sent)
        self.value = ""
        return text

    def action_recall(self, step: int) -> None:
        self._at = min(max(0, self._at + step), len(self._sent))
        self.value = self._sent[self._at] if self._at < len(self._sent) else ""
        self.cursor_position = len(self.value)

    def action_break_line(self) -> None:
        self.insert_text_at_cursor(BREAK)

    def _on_paste(self, event: events.Paste) -> None:
        # Input itself would drop everything after the first line.
        event.prevent_default()
        event.stop()
        self.insert_text_at_cursor(one_line(event.text.strip("\n")))
