"""What an answer should have been: an editor over the Chat screen, whose text becomes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, TextArea

from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line, shorten_middle
from tui_lora.store.corrections import Kept, check_file, keep
from tui_lora.store.preferences import remember
from tui_lora.ui.ink import STRONG, TIGHT, WRONG, dim, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.widgets.line import Line, Lines


@dataclass(frozen=True)
class Correctable:
    """An answer and what it was given to: the row's turns but for the last."""

    label: str
    question: str
    turns: tuple[Turn, ...]
    text: str


class CorrectionForm(Panel[Kept | None]):
    """Dismissed with what became of the row, or None. `found` has one answer at least; `at` is the
    one that is corrected first."""

    BINDINGS = [
        Binding("ctrl+s", "save", "keep as a row", id="correction.save", priority=True,
                tooltip="the answer as it stands here becomes a row to be trained on"),
        Binding("ctrl+r", "before", "answer before", id="correction.before", priority=True,
                tooltip="the answer before this one"),
        Binding("ctrl+t", "file", "file", id="correction.file", priority=True,
                tooltip="another file of rows, which is remembered"),
        Binding("escape", "leave", "leave", id="correction.leave", priority=True,
                tooltip="leave; nothing becomes a row"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    CorrectionForm > .panel { height: 80%; }
    CorrectionForm.-few-rows > .panel { height: 100%; }
    CorrectionForm TextArea { height: 1fr; border: none; padding: 0; margin: 1 0; }
    CorrectionForm #file { display: none; }
    CorrectionForm.-file #file { display: block; }
    """
    CSS = """
    CorrectionForm TextArea, CorrectionForm TextArea:focus {
        border: none;
        background: $background;
    }
    """

    class Done(Message, bubble=False):
        """The row was written, or `problem` says why not."""

        def __init__(self, kept: Kept | None, problem: str = "") -> None:
            self.kept, self.problem = kept, problem
            super().__init__()

    def __init__(self, found: Sequence[Correctable], at: int, file: Path) -> None:
        super().__init__()
        self._found, self._at, self._file = tuple(found), at, file
        self._asked_to_leave = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Lines(id="whose")
            yield TextArea(soft_wrap=True, tab_behavior="focus", show_line_numbers=False)
            yield Input(placeholder="a file called .jsonl; empty: the session's own", id="file",
                        compact=True)  # fmt: skip
            yield Line(id="where")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        keys = (("^s", "keeps it as a row"), ("^r", "the answer before"), ("^t", "another file"))
        self.query_one("#form-keys", Line).say(keys_row((*keys, ("Esc", "leaves"))))
        self.query_one(TextArea).cursor_blink = False
        self._show()

    @property
    def _one(self) -> Correctable:
        return self._found[self._at]

    @property
    def _changed(self) -> bool:
        return self.query_one(TextArea).text != self._one.text

    def _show(self) -> None:
        one = self._one
        room = max(20, self.app.size.width - 8)
        asked = shorten_middle(one_line(one.question), room - 5)
        row = join(dim("what should "), (one_line(one.label, max_chars=40), STRONG),
                   dim(" have answered?"))  # fmt: skip
        before = sum(turn.role == "user" for turn in one.turns) - 1
        if before:
            row = join(row, dim(f"   {before} message{'s' * (before != 1)} before it go along"))
        self.query_one("#whose", Lines).say(row, join(dim("you  "), ink(asked)))
        area = self.query_one(TextArea)
        area.load_text(one.text)
        area.move_cursor(area.document.end)
        area.focus()
        self._say_where()

    def _say_where(self) -> None:
        path = shorten_middle(clean(str(self._file)), max(20, self.app.size.width - 20))
        self.query_one("#where", Line).say(dim(f"into {path}"))

    def _warn(self, text: str, style: str = WRONG) -> None:
        self.query_one("#where", Line).say(ink(one_line(text), style))

    @on(TextArea.Changed)
    def _typed(self) -> None:
        self._asked_to_leave = False

    def action_before(self) -> None:
        if self._changed:
            self._warn("what you changed is kept with ^s first, or left with Esc.", TIGHT)
            return
        self._at = (self._at - 1) % len(self._found)
        self._show()

    def action_leave(self) -> None:
        if self.has_class("-file"):
            self._close_file()
        elif self._changed and not self._asked_to_leave:
            self._asked_to_leave = True
            self._warn("this is not kept: ^s keeps it, Esc again leaves it.", TIGHT)
        else:
            self.dismiss(None)

    def action_file(self) -> None:
        self.add_class("-file")
        field = self.query_one("#file", Input)
        field.value = str(self._file)
        field.focus()

    def _close_file(self) -> None:
        self.remove_class("-file")
        self.query_one(TextArea).focus()
        self._say_where()

    @on(Input.Submitted, "#file")
    def _file_given(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if not text:
            self._remember("")
            self._warn("from the next answer on the session's own file takes them.", TIGHT)
            return
        try:
            self._file = check_file(text)
        except UserError as error:
            self._warn(f"✗ {error.what} {error.then}")
            return
        self._remember(str(self._file))
        self._close_file()

    def _remember(self, text: str) -> None:
        try:
            remember(corrections=text)
        except OSError as error:
            self._warn(f"! it could not be remembered: {error.strerror}.", TIGHT)

    def action_save(self) -> None:
        self._keep(self._file, self._one.turns, self.query_one(TextArea).text)

    @work(thread=True, exclusive=True, exit_on_error=False, group="keep")
    def _keep(self, file: Path, turns: Sequence[Turn], text: str) -> None:
        try:
            # What was pasted may hold what steers a terminal.
            done = self.Done(keep(file, turns, clean(text).strip()))
        except UserError as error:
            done = self.Done(None, f"{error.what} {error.then}".strip())
        self.post_message(done)

    @on(Done)
    def _done(self, fact: Done) -> None:
        if fact.kept is None:
            self._warn(f"✗ {fact.problem}")
        else:
            self.dismiss(fact.kept)
