"""Where and as what a plot or table is saved; the same for all of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input

from tui_lora.core.figures import Figure, TableData
from tui_lora.core.text import one_line, size
from tui_lora.store.figures import free_path
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.ink import dim, ink, keys_row
from tui_lora.ui.page import Page
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.screens.question import Question
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Row, Table

KINDS = (
    ("svg", "a picture for documents and the web; its text can be searched"),
    ("png", "a picture of points"),
    ("csv", "the numbers in full, for a spreadsheet or a script"),
    ("md", "a table of Markdown, in three figures"),
)


class SaveFigure(Panel[str]):
    """Dismissed with a path whose ending says the format, or with None."""

    BINDINGS = [
        Binding("escape", "leave", "leave", id="save.leave", tooltip="save nothing"),
        Binding("e", "edit", "other name", id="save.edit", tooltip="another name or folder"),
    ]
    DEFAULT_CSS = """
    SaveFigure Table { background: $panel; height: 5; }
    SaveFigure Input { margin: 1 0 0 1; background: $panel; }
    SaveFigure Input:focus { background: $cursor; }
    SaveFigure #save-keys { margin: 1 0 0 1; }
    """

    def __init__(self, title: str, folder: Path, name: str, kind: str) -> None:
        super().__init__()
        self._title = title
        self._folder, self._stem, self._kind = folder, name, kind
        self._proposed = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Lines(id="save-title")
            yield Table(Column("save as", 8), Column("", 0))
            yield Input(compact=True)
            yield Line(id="save-keys")

    def on_mount(self) -> None:
        self.query_one("#save-title", Lines).say(ink(one_line(self._title), "bold $foreground"))
        table = self.query_one(Table)
        table.show([Row(kind, (ink(kind), dim(about))) for kind, about in KINDS])
        table.point(self._kind)
        self._propose(self._kind)
        table.focus()
        keys = [("Enter", "saves"), ("e", "other name or folder"), ("Esc", "leaves")]
        self.query_one("#save-keys", Line).say(keys_row(keys))

    @on(Table.Pointed)
    def _pointed(self, event: Table.Pointed) -> None:
        event.stop()
        self._propose(event.key)

    def _propose(self, kind: str) -> None:
        """A name that nothing has yet, or the one that was typed with another ending."""
        field = self.query_one(Input)
        if field.value != self._proposed:
            field.value = str(Path(field.value).with_suffix(f".{kind}"))
            return
        self._proposed = field.value = str(free_path(self._folder, self._stem, kind))

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        self._take()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._take()

    def _take(self) -> None:
        self.dismiss(self.query_one(Input).value.strip() or None)

    def action_edit(self) -> None:
        self.query_one(Input).focus()

    def action_leave(self) -> None:
        if isinstance(self.focused, Input):
            self.query_one(Table).focus()
        else:
            self.dismiss(None)


def save_figure(page: Page, figure: Figure, name: str, session: SessionPaths | None) -> None:
    """Ask where to, save in a thread, and say on `page` what became of it; `name` is the file's
    where nobody gives another, in the session's exports/ or else the current folder."""
    folder = session.folder / "exports" if session is not None else Path.cwd()
    kind = "csv" if isinstance(figure, TableData) else "svg"

    def answered(path: str | None) -> None:
        if path:
            _go(page, figure, path, over=False)

    page.app.push_screen(SaveFigure(figure.title, folder, name, kind), answered)


def _go(page: Page, figure: Figure, path: str, *, over: bool) -> None:
    page.run_worker(
        partial(_save, page, figure, path, over), thread=True, exit_on_error=False, group="save"
    )


def _save(page: Page, figure: Figure, path: str, over: bool) -> None:
    from tui_lora.store.figures import format_of, save
    from tui_lora.store.paths import expanded, is_there

    where = expanded(path)
    format_of(where)
    if not over and is_there(where):
        page.app.call_from_thread(_ask, page, figure, path)
        return
    page.app.call_from_thread(page.say, "drawing it …")
    saved = save(figure, path, over=over)
    part = f", the first {saved.drawn:,} of its {saved.rows:,} rows" if saved.drawn else ""
    words = f"saved {saved.path}, {size(saved.size_bytes)}{part}."
    page.app.call_from_thread(page.say, words, "good")


def _ask(page: Page, figure: Figure, path: str) -> None:
    def answered(yes: bool | None) -> None:
        if yes:
            _go(page, figure, path, over=True)

    detail = "What is in it now goes for good."
    page.app.push_screen(Question(f"Replace {one_line(path)}?", detail, "replace it"), answered)
