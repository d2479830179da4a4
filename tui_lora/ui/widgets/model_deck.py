"""The models on this machine: a filter, a list, and all that is known of the one pointed at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from tui_lora.core.text import one_line
from tui_lora.ui.ink import TIGHT, dim, ink, join
from tui_lora.ui.model_text import COLUMNS, detail_rows, table_row
from tui_lora.ui.screens.model_keys import ModelTable
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.filter import Filter
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.store.model_entry import ModelEntry
    from tui_lora.store.model_list import ModelList


Fit = Callable[["ModelEntry", int], "list[Content]"]


class ModelDeck(Vertical):
    """`show` what was found; `Opened` says which model Enter was pressed on."""

    class Opened(Message):
        def __init__(self, entry: ModelEntry) -> None:
            self.entry = entry
            super().__init__()

    class Changed(Message):
        """Other keys mean something now."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._models: ModelList | None = None
        self._shown: dict[str, ModelEntry] = {}
        self._chosen = self._trusts = ""
        self._fit: Fit = no_fit

    def compose(self) -> ComposeResult:
        yield Line(id="state")
        yield Filter("name, kind, architecture, dtype or licence")
        yield ModelTable(*COLUMNS, id="table")
        yield Empty(id="empty")
        yield Lines(id="detail")

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_detail)

    @property
    def table(self) -> Table:
        return self.query_one(ModelTable)

    @property
    def pointed(self) -> ModelEntry | None:
        return self._shown.get(self.table.pointed or "")

    @property
    def folder(self) -> str:
        """The remembered folder that the model pointed at was found in; else empty."""
        entry = self.pointed
        if entry is None or self._models is None:
            return ""
        folders = sorted(self._models.folders, key=len, reverse=True)
        inside = (f for f in folders if (entry.place + "/").startswith(f.rstrip("/") + "/"))
        return next(inside, "")

    @property
    def filtered(self) -> bool:
        return self.has_class("-filter")

    def knows(self, model_id: str) -> bool:
        """Whether a model is listed; True as long as nothing is."""
        return self._models is None or self.entry_of(model_id) is not None

    def entry_of(self, model_id: str) -> ModelEntry | None:
        """The model of that id or place, whether it is shown or filtered out."""
        entries = self._models.entries if self._models is not None else ()
        return next((e for e in entries if model_id in (e.id, e.place)), None)

    def wait(self) -> None:
        """Say that the disks are being looked through."""
        self.query_one("#state", Line).say(dim("looking for models on this machine …"))

    def show(self, models: ModelList, *, point: str = "") -> None:
        """What was found; the cursor goes to `point`, at first to the one that is chosen."""
        first, self._models = self._models is None, models
        if point:
            self.query_one("#filter", Input).value = ""
        self._show()
        if first and not point:
            self.point_at_chosen()
        self.table.point(point)

    def point_at_chosen(self) -> None:
        """Move the cursor to the draft's model, if it is shown."""
        chosen = (entry.place for entry in self._shown.values() if self.is_chosen(entry))
        self.table.point(next(chosen, ""))

    def show_chosen(self, model_id: str, trusts: str) -> None:
        """Which model is the draft's, and the fingerprint of its code that the draft trusts."""
        if (model_id, trusts) != (self._chosen, self._trusts):
            self._chosen, self._trusts = model_id, trusts
            self._show()

    def show_fit(self, fit: Fit) -> None:
        """`fit` gives the rows that say how a model fits the card, of that width."""
        self._fit = fit
        self._show_detail()

    def filter(self) -> None:
        self.add_class("-filter")
        self.query_one("#filter", Input).focus()

    def show_all(self) -> None:
        self.remove_class("-filter")
        self.query_one("#filter", Input).value = ""

    # What is shown.

    def is_chosen(self, entry: ModelEntry) -> bool:
        """Whether it is the draft's."""
        return self._chosen in (entry.id, entry.place)

    def trusted(self, entry: ModelEntry) -> str:
        """The fingerprint of code that the draft trusts of this model; empty where none."""
        return self._trusts if self.is_chosen(entry) else ""

    def _show(self) -> None:
        if self._models is None:
            return
        words = self.query_one("#filter", Input).value.lower().split()
        shown = [e for e in self._models.entries if all(word in _haystack(e) for word in words)]
        self._shown = {entry.place: entry for entry in shown}
        self.table.show([table_row(e, self.trusted(e), chosen=self.is_chosen(e)) for e in shown])
        self.set_class(not shown, "-empty")
        if not shown:
            self.query_one(Empty).show("No model matches.", ("Esc", "shows all again"))
        self._show_state(self._models)
        self._show_detail()
        self.post_message(self.Changed())

    def _show_state(self, models: ModelList) -> None:
        able = sum(entry.usable for entry in models.entries)
        row = join(ink(f"{able:,}"), dim(f" model{'s' * (able != 1)} can be trained"))
        if len(models.entries) > able:
            row = join(row, dim("   "), ink(f"{len(models.entries) - able:,}"), dim(" cannot"))
        if models.gone:
            gone = one_line(", ".join(models.gone))
            row = join(row, dim("   "), ink(f"! not there any more: {gone}", TIGHT))
        elif not self._chosen:
            row = join(row, dim("   none chosen yet: Enter chooses"))
        self.query_one("#state", Line).say(row)

    def _show_detail(self) -> None:
        entry, area = self.pointed, self.query_one("#detail", Lines)
        if entry is None or self._models is None:
            area.say()
            return
        width = max(40, area.content_size.width or self.app.size.width - 4)
        note = self._models.notes.get(entry.place, "")
        chosen, trusts = self.is_chosen(entry), self.trusted(entry)
        fit = self._fit(entry, width) if entry.usable else []
        area.say(*detail_rows(entry, note, width, chosen=chosen, trusts=trusts, fit=fit))

    # What the user does.

    @on(Table.Pointed)
    def _moved(self, event: Table.Pointed) -> None:
        event.stop()
        self._show_detail()
        self.post_message(self.Changed())

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        if self.pointed is not None:
            self.post_message(self.Opened(self.pointed))

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.table.focus()


def no_fit(entry: ModelEntry, width: int) -> list[Content]:
    return []


def _haystack(entry: ModelEntry) -> str:
    parts = (entry.id, entry.kind, entry.architecture, entry.model_type, entry.dtype, entry.licence)
    return " ".join(part.lower() for part in (*parts, entry.quantization) if part)
