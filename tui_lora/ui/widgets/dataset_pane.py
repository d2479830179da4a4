"""The datasets to choose from, and beside them what a look at the chosen one found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.worker import get_current_worker

from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.dataset_facts import DatasetsListed, Seen
from tui_lora.ui.dataset_text import COLUMNS, dataset_row, file_name, look_rows
from tui_lora.ui.ink import WRONG, dim, ink
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.store.dataset_list import DatasetEntry


class DatasetTable(Table):
    BINDINGS = [
        Binding("enter", "open", "choose", id="data.choose", tooltip="learn from this dataset"),
    ]


class DatasetPane(Vertical):
    """`list_again` looks through the disks in a thread; `Table.Opened` says what was chosen."""

    def __init__(self, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._root = root
        self._path = ""
        self._entries: list[DatasetEntry] = []
        self._table = DatasetTable(*COLUMNS, id="table")

    def compose(self) -> ComposeResult:
        yield self._table
        yield Lines(id="look")

    def enter(self) -> None:
        self._table.focus()

    def turn_to(self, asked: Asked) -> None:
        """The dataset that is asked for is the chosen one, and nothing is known of it yet."""
        self._path = asked.path
        self.set_class(bool(asked.path), "-chosen")
        if asked.path and asked.data is None:
            self.say(ink("✗ the draft does not hold: 4 says why.", WRONG))
        else:
            self.say(dim(f"reading {file_name(asked.path)} …"))
        self._show()
        if asked.path and all(entry.path != asked.path for entry in self._entries):
            self.list_again()

    def say(self, words: Content) -> None:
        """Say something in the place of what a look found."""
        self.query_one("#look", Lines).say(words)

    def show_look(self, seen: Seen, draft: Draft, *, tall: bool) -> None:
        area = self.query_one("#look", Lines)
        width = max(40, area.content_size.width or self.size.width - 4)
        area.say(*look_rows(seen, draft, width, tall=tall))

    def list_again(self) -> None:
        self._list(self._path)

    def _show(self) -> None:
        path = self._path
        self._table.show([dataset_row(entry, chosen=entry.path == path) for entry in self._entries])

    @on(DatasetsListed)
    def _listed(self, fact: DatasetsListed) -> None:
        fact.stop()
        first, self._entries = not self._entries, fact.entries
        self._show()
        if first and self._path:
            self._table.point(self._path)

    @work(thread=True, exclusive=True, exit_on_error=False, group="list")
    def _list(self, path: str) -> None:
        from tui_lora.store.dataset_list import list_datasets

        found = list_datasets(self._root, Path.cwd(), path)
        if not get_current_worker().is_cancelled:
            self.post_message(DatasetsListed(found))
