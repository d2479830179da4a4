"""Asks for one line of text in place: no window, the screen stays as it is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Static

from tui_lora.core.text import one_line
from tui_lora.ui.ink import ACCENT, WRONG, dim, ink, join
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.line import Lines

MOST_NAMES = 5000


class Refused(Message):
    """What was typed will not do; posted from the thread that looked."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__()


class AskField(Input):
    BINDINGS = [
        Binding("enter", "submit", "take it", id="ask.take", tooltip="take what was typed"),
    ]


class AskLine(Vertical):
    """`ask` opens it, `Answered` carries what was typed, `refuse` says why it will not do.

    It stays open until `close`, so that a mistake can be mended; Esc closes it too.
    """

    DEFAULT_CSS = """
    AskLine {
        display: none;
        height: auto;
        margin: 1 1 0 1;
        &.-open { display: block; }
        & > Horizontal { height: 1; }
        & .label { width: auto; color: $dim; }
        & Input { width: 1fr; }
        & Lines { max-height: 3; }
    }
    """
    BINDINGS = [
        Binding("escape", "close", "close", id="ask.close", tooltip="leave it as it was"),
    ]

    class Answered(Message):
        """Enter was pressed; `purpose` is what `ask` was given."""

        def __init__(self, ask: AskLine, purpose: str, text: str) -> None:
            self.ask = ask
            self.purpose = purpose
            self.text = text
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._purpose = ""
        self._hint = ""
        self._back: Widget | None = None

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("", classes="label", markup=False)
            yield AskField(compact=True)
        yield Lines()

    @property
    def purpose(self) -> str:
        """What is being asked for; empty while closed."""
        return self._purpose

    def ask(
        self,
        purpose: str,
        label: str,
        hint: str,
        *,
        value: str = "",
        completes: tuple[str, ...] = (),
    ) -> None:
        """Open with a label and a sentence below.

        `completes`: → completes paths of folders and of files that end so.
        """
        if not self._purpose:
            self._back = self.screen.focused
        self._purpose, self._hint = purpose, hint
        if isinstance(self.screen, Page):
            # What was said before would stand below, and seem to answer this.
            self.screen.hush()
        self.query_one(".label", Static).update(ink(f"{label} ", ACCENT))
        field = self.query_one(Input)
        field.suggester = PathSuggester(completes) if completes else None
        field.value = value
        field.cursor_position = len(value)
        self._show_hint()
        self.add_class("-open")
        field.focus()

    def refuse(self, why: str) -> None:
        """Say why what was typed will not do, and let it be mended."""
        self.query_one(Lines).say(ink(f"✗ {one_line(why)}", WRONG))

    def wait(self, words: str) -> None:
        """Say that what was typed is being looked at."""
        self.query_one(Lines).say(dim(words))

    def close(self) -> None:
        self.action_close()

    def action_close(self) -> None:
        if not self._purpose:
            return
        self._purpose = ""
        self.remove_class("-open")
        if self._back is not None and self._back.is_attached:
            self._back.focus()
        self._back = None

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._show_hint()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._purpose:
            self.post_message(self.Answered(self, self._purpose, event.value.strip()))

    def _show_hint(self) -> None:
        self.query_one(Lines).say(join(dim(self._hint)))


class PathSuggester(Suggester):
    """Completes the name of the file or folder that is being typed; → takes it."""

    def __init__(self, suffixes: tuple[str, ...]) -> None:
        # No cache: files come and go.
        super().__init__(use_cache=False, case_sensitive=True)
        self._suffixes = suffixes

    async def get_suggestion(self, value: str) -> str | None:
        # A folder on a sleeping disk must not hold up the keys.
        return await asyncio.to_thread(completed, value, self._suffixes)


def completed(typed: str, suffixes: tuple[str, ...]) -> str | None:
    """`typed` with the first folder, or file of these endings, that goes on from it, or None."""
    head, slash, start = typed.rpartition("/")
    if not start and not slash:
        return None
    try:
        folder = Path(head + slash).expanduser() if slash else Path()
        with os.scandir(folder) as found:
            names = [
                entry.name + ("/" if entry.is_dir() else "")
                for _, entry in zip(range(MOST_NAMES), found, strict=False)
                if entry.name.startswith(start)
                and (start or not entry.name.startswith("."))
                and (entry.name.lower().endswith(suffixes) or entry.is_dir())
            ]
    except (OSError, RuntimeError, ValueError):
        return None
    if not names:
        return None
    name = min(names)
    # What would be shown otherwise than it is called is not offered.
    return head + slash + name if one_line(name) == name else None
