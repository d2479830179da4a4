"""The form: a list of settings, each edited in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from tui_lora.ui.forms.editor import Editor, Verdict
from tui_lora.ui.forms.entry import VALUE_AT, Entry, typed
from tui_lora.ui.forms.rows import Rows
from tui_lora.ui.forms.sheet import HINT_ROWS, said_below
from tui_lora.ui.ink import DIM, TIGHT, WRONG


class Form(Widget):
    """`show` the entries; `judge` says of what is typed whether it will do.

    Posts what the user wants; what becomes of it comes back by `show`.
    """

    DEFAULT_CSS = """
    Form {
        layers: list over;
        height: 1fr;
        & Rows {
            layer: list;
            height: 1fr;
            overflow-x: hidden;
            scrollbar-size-vertical: 1;
            scrollbar-gutter: stable;
        }
        & Editor { layer: over; height: auto; display: none; }
    }
    """

    class Given(Message):
        """A setting was given a value that holds."""

        def __init__(self, path: str, value: object) -> None:
            self.path = path
            self.value = value
            super().__init__()

    def __init__(
        self,
        judge: Callable[[str, str], Verdict],
        *,
        headed: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._judge = judge
        self._rows = Rows(headed=headed)
        self._editor = Editor()

    def compose(self) -> ComposeResult:
        yield self._rows
        yield self._editor

    @property
    def pointed(self) -> Entry | None:
        """The setting under the cursor."""
        entries = self._rows.entries
        return entries[self._rows.cursor] if entries else None

    @property
    def editing(self) -> str:
        """The path of the setting that is being typed; empty when none is."""
        at = self._rows.open_at
        return "" if at is None else self._rows.entries[at].path

    def show(self, entries: Sequence[Entry], headings: Mapping[str, str] | None = None) -> None:
        """`headings` has what is to be said beside a group's title."""
        self._rows.show(entries, headings)
        self.place_editor()

    def take_focus(self) -> None:
        (self._editor.field if self.editing else self._rows).focus()

    def point(self, path: str) -> None:
        for index, entry in enumerate(self._rows.entries):
            if entry.path == path:
                self._rows.point(index)

    def bring_group_into_sight(self) -> None:
        self._rows.bring_group_into_sight()

    def edit(self, path: str) -> None:
        """Open the setting for typing, with its present value."""
        self.point(path)
        entry = self.pointed
        if entry is None or entry.path != path:
            return
        self._rows.open_at = self._rows.cursor
        self._rows.lay_out()
        self._rows.bring_into_sight()
        value = "" if entry.value is ... else typed(entry.setting, entry.value)
        # Not by a class, which is heeded later: what is not displayed takes no focus.
        self._editor.display = True
        self.place_editor()
        self._editor.begin(value, entry.stand_in)
        self._say(value)

    def leave_edit(self) -> bool:
        """Keep what is typed, if it holds; False while it does not."""
        path = self.editing
        if not path:
            return True
        text = self._editor.field.value
        verdict = self._judge(path, text)
        if not verdict.holds:
            self._say(text)
            self._editor.field.focus()
            return False
        self._close()
        self.post_message(self.Given(path, verdict.value))
        return True

    def place_editor(self) -> None:
        """Put the field over the value that it edits."""
        at = self._rows.open_at
        if at is None or at >= len(self._rows.sheet.spots):
            return
        spot = self._rows.sheet.spots[at]
        y = spot.y - self._rows.scroll_offset.y
        self._editor.styles.offset = (spot.x + VALUE_AT - 1, y)
        self._editor.styles.width = spot.width - VALUE_AT
        self._editor.visible = 0 <= y <= self._rows.size.height - 1

    @on(Rows.TypingAsked)
    def _typing_asked(self, event: Rows.TypingAsked) -> None:
        event.stop()
        self.edit(event.path)

    @on(Rows.Scrolled)
    def _scrolled(self, event: Rows.Scrolled) -> None:
        event.stop()
        self.place_editor()

    @on(Rows.Clicked)
    def _clicked(self, event: Rows.Clicked) -> None:
        event.stop()
        if self.leave_edit():
            if event.index == self._rows.cursor:
                self._rows.action_open()
            self._rows.point(event.index)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self.editing:
            self._say(event.value)

    @on(Editor.Left)
    def _left(self, event: Editor.Left) -> None:
        event.stop()
        if event.keep and not self.leave_edit():
            return
        self._close()
        if event.move:
            self._rows.action_move(event.move)

    def _say(self, text: str) -> None:
        verdict = self._judge(self.editing, text)
        style = DIM if not verdict.trouble else TIGHT if verdict.holds else WRONG
        spot = self._rows.sheet.spots[self._rows.cursor]
        words = verdict.sentence
        rows = said_below(words, style, spot.width, HINT_ROWS)
        self._editor.say([line[VALUE_AT:].rstrip() for line in rows])

    def _close(self) -> None:
        if self._rows.open_at is None:
            return
        self._rows.open_at = None
        self._editor.display = False
        self._rows.lay_out()
        self._rows.focus()
