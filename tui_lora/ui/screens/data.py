"""Data: the rows that a run learns from, as they were written and as they will be fed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input
from textual.worker import get_current_worker

from tui_lora.ui.dataset_facts import (
    DatasetSeen,
    DatasetsListed,
    PathTaken,
    checked_dataset,
    checked_held_out,
    dataset_changes,
    looks,
)
from tui_lora.ui.dataset_text import (
    COLUMNS,
    dataset_row,
    file_name,
    held_out_words,
    look_rows,
    problem_rows,
)
from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.ink import WRONG, dim, ink
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import Said, SettingsChanged
from tui_lora.ui.page import Page
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.line import Lines
from tui_lora.ui.widgets.row_view import RowView
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.store.dataset import Look
    from tui_lora.store.dataset_list import DatasetEntry

DATA_SUFFIXES = (".jsonl", ".json", ".ndjson")


class DatasetTable(Table):
    BINDINGS = [
        Binding("enter", "open", "choose", id="data.choose", tooltip="learn from this dataset"),
    ]


class DataScreen(Page):
    TITLE_WORD = "Data"
    OF_DRAFT = True
    CSS_PATH = "data.tcss"
    HELP = (
        "What the run learns from: one JSONL or JSON file, a row of messages (role and content) "
        "or of prompt and completion each. A row is shown as you wrote it and as the model will "
        "be fed it, in its own template: what has the margin ▌ and is underlined is trained on, "
        "the dim part is only read. Line ends are shown as ⏎, special tokens in colour, and cut is "
        "what lies behind max length. Tab gives the arrow keys to the row."
    )
    BINDINGS = [
        Binding("n", "row(1)", "next row", id="data.next", tooltip="the next row"),
        Binding("p", "row(-1)", "previous", False, id="data.previous", tooltip="the row before"),
        # Before the widgets that scroll, which would take them.
        Binding("right", "row(1)", "", False, id="data.right", tooltip="next row", priority=True),
        Binding("left", "row(-1)", "", False, id="data.left", tooltip="row before", priority=True),
        Binding("t", "type", "path", id="data.type", tooltip="type the path of a dataset"),
        Binding("h", "held_out", "held-out", id="data.held_out", tooltip="rows never trained on"),
        Binding("g", "jump", "go to row", id="data.jump", tooltip="go to a row by its number"),
        Binding("v", "turn", "as written", id="data.turn", tooltip="as written, or as fed"),
        Binding("e", "problems", "problems", id="data.problems", tooltip="rows that are no use"),
        Binding("r", "rescan", "look again", id="data.rescan", tooltip="read the files again"),
        Binding("escape", "back", "list", False, id="data.back", tooltip="back to the list"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[DatasetEntry] = []
        self._path = ""
        self._format = ""
        self._seen: Look | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical(id="top-half"):
            yield DatasetTable(*COLUMNS, id="table")
            yield Lines(id="look")
        yield Empty(id="empty")
        yield RowView(id="rows")
        with VerticalScroll(id="problems"):
            yield Lines(id="problem-lines")
        yield AskLine(id="ask")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        about = "Nothing chosen to learn from. A dataset is one file, JSONL or JSON, a row a line:"
        self.query_one(Empty).show(
            f'{about}\n{{"prompt": "…", "completion": "…"}}   or   {{"messages": [{{"role": …}}]}}',
            ("Enter", "chooses the one under the cursor"),
            ("t", "types the path of a file"),
        )
        self.follow("draft", self._show_draft)
        self._list()

    def on_resize(self) -> None:
        self.query_one(RowView).show_one_pane(self.size.width < 110)
        self.call_after_refresh(self._show_look)

    # What is shown.

    def _show_draft(self, draft: Draft) -> None:
        from tui_lora.core.fields import get

        path, format = drafted_text(draft, "dataset.path"), str(get(draft.data, "dataset.format"))
        self.query_one(RowView).feed_with(
            model=drafted_text(draft, "model.id"),
            format=format,
            loss_on=get(draft.data, "dataset.loss_on"),
            max_length=get(draft.data, "training.max_length"),
        )
        if (path, format) != (self._path, self._format):
            self._path, self._format = path, format
            self._open()
        self._show_look()

    def _open(self) -> None:
        """Turn to the draft's dataset."""
        path, self._seen = self._path, None
        self.set_class(not path, "-empty")
        self.remove_class("-problems")
        self.query_one("#top-half").set_class(bool(path), "-chosen")
        self.query_one(RowView).open(path)
        if path:
            self.query_one("#look", Lines).say(dim(f"reading {file_name(path)} …"))
            self._look(path, self._format)
        if path and all(entry.path != path for entry in self._entries):
            self._list()
        self._show_list()

    def _show_list(self) -> None:
        rows = [dataset_row(entry, chosen=entry.path == self._path) for entry in self._entries]
        self.query_one(Table).show(rows)
        self.refresh_bindings()

    def _show_look(self) -> None:
        if self._seen is None or not self._path:
            return
        area = self.query_one("#look", Lines)
        width = max(40, area.content_size.width or self.size.width - 4)
        name = file_name(self._path)
        wide = self.size.width >= 110
        area.say(*look_rows(self._seen, name, held_out_words(self.bench.draft), width, tall=wide))
        self.query_one(RowView).show_total(self._seen.rows, complete=self._seen.complete)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached or not self.query(RowView):
            return True
        view = self.query_one(RowView)
        reads = bool(self._path) and not self.has_class("-problems")
        if action == "row":
            # These keys come before the focused widget's own, but never while one types.
            return reads and not isinstance(self.focused, Input)
        if action == "jump":
            return reads
        if action == "turn":
            return reads and view.panes.can_turn
        if action == "held_out":
            return bool(self._path)
        if action == "problems":
            return self._seen is not None and bool(self._seen.problems)
        return True

    # What the user does.

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        if event.key != self._path:
            changes = dataset_changes(event.key, self._drafted_held_out())
            self._take(changes, f"{file_name(event.key)} is the draft's dataset.")
        self.add_class("-reading")
        self.query_one(RowView).enter()

    def _take(self, changes: dict[str, Any], said: str) -> None:
        self.post_message(SettingsChanged(changes))
        then = " Next, the settings: 4." if place("settings") is not None else ""
        self.post_message(Said(f"{said}{then}", "good"))

    def _drafted_held_out(self) -> str:
        return drafted_text(self.bench.draft, "dataset.eval_path")

    def action_row(self, rows: int) -> None:
        self.query_one(RowView).go(rows)

    def action_turn(self) -> None:
        self.query_one(RowView).turn()

    def action_type(self) -> None:
        hint = "A .jsonl or .json file, or quickstart for the one that comes along. → completes."
        self.query_one(AskLine).ask(
            "path", "dataset", hint, value=self._path, completes=DATA_SUFFIXES
        )

    def action_held_out(self) -> None:
        hint = "A file of rows that are never trained on. Empty: a share of the dataset."
        value = self._drafted_held_out()
        self.query_one(AskLine).ask(
            "held-out", "held-out file", hint, value=value, completes=DATA_SUFFIXES
        )

    def action_jump(self) -> None:
        self.query_one(AskLine).ask("row", "row", "The number of a row, from 1.")

    def action_problems(self) -> None:
        self.toggle_class("-problems")
        if self.has_class("-problems") and self._seen is not None:
            rows = problem_rows(self._seen, file_name(self._path))
            self.query_one("#problem-lines", Lines).say(*rows)
            self.query_one("#problems").focus()
        else:
            self.query_one(Table).focus()

    def action_rescan(self) -> None:
        self._list()
        self._open()

    def action_back(self) -> None:
        self.remove_class("-problems", "-reading")
        self.query_one(Table).focus()

    @on(AskLine.Answered)
    def _answered(self, answer: AskLine.Answered) -> None:
        ask, text = answer.ask, answer.text
        if answer.purpose == "row":
            digits = text.replace(",", "")
            if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
                ask.refuse("A row's number is a whole number from 1.")
                return
            ask.close()
            self.query_one(RowView).go_to(int(digits) - 1)
        elif not text:
            ask.close()
            if answer.purpose == "held-out":
                self._take({"dataset.eval_path": None}, "A share of the rows is held out.")
        else:
            ask.wait("looking …")
            self._check(answer.purpose, text)

    # What goes to the disk, in threads.

    @on(DatasetsListed)
    def _listed(self, fact: DatasetsListed) -> None:
        first, self._entries = not self._entries, fact.entries
        self._show_list()
        if first and self._path:
            self.query_one(Table).point(self._path)

    @on(DatasetSeen)
    def _dataset_seen(self, fact: DatasetSeen) -> None:
        if fact.path != self._path:
            return
        self._seen = fact.seen
        if fact.problem:
            self.query_one("#look", Lines).say(ink(f"✗ {fact.problem}", WRONG))
        elif fact.seen is not None and fact.seen.complete and not fact.seen.usable_rows:
            # In the place of what was said when it was chosen.
            self.say(f"{file_name(fact.path)} has no row that can be used.", "error")
        self._show_look()
        self.refresh_bindings()

    @on(PathTaken)
    def _taken(self, fact: PathTaken) -> None:
        if not self.query_one(AskLine).purpose:
            return  # closed meanwhile
        self.query_one(AskLine).close()
        self._take(fact.changes, fact.said)

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        self.query_one(AskLine).refuse(fact.why)

    @work(thread=True, exclusive=True, exit_on_error=False, group="list")
    def _list(self) -> None:
        from tui_lora.store.dataset_list import list_datasets

        found = list_datasets(self.bench.root, Path.cwd(), self._path)
        if not get_current_worker().is_cancelled:
            self.post_message(DatasetsListed(found))

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look(self, path: str, format: str) -> None:
        worker = get_current_worker()
        for fact in looks(path, format):
            if worker.is_cancelled:
                return
            self.post_message(fact)

    @work(thread=True, exclusive=True, exit_on_error=False, group="check")
    def _check(self, purpose: str, text: str) -> None:
        if purpose == "path":
            self.post_message(checked_dataset(text, self._drafted_held_out()))
        else:
            self.post_message(checked_held_out(text, self._path, self._format))
