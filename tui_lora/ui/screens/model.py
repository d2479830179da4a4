"""Model: the models on this machine, and the one that the draft uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input
from textual.worker import get_current_worker

from tui_lora.core.text import one_line
from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.ink import TIGHT, dim, ink, join
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import Said, SettingsChanged
from tui_lora.ui.model_facts import (
    AnswerTaken,
    ModelsListed,
    added_folder,
    checked_model,
    forgotten_folder,
    model_changes,
)
from tui_lora.ui.model_text import COLUMNS, detail_rows, short_name, table_row, usable
from tui_lora.ui.page import Page
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.filter import Filter
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.store.catalog import ModelEntry
    from tui_lora.store.model_list import ModelList


class ModelTable(Table):
    BINDINGS = [
        Binding("enter", "open", "choose", id="model.choose", tooltip="train this model"),
    ]


class ModelScreen(Page):
    TITLE_WORD = "Model"
    OF_DRAFT = True
    CSS_PATH = "model.tcss"
    HELP = (
        "The models on this machine: the Hugging Face cache, what tui-lora converted, and the "
        "folders and GGUF files that you named. Only headers are read. params counts weights, "
        "context is the longest text in tokens, chat says whether the model knows how turns are "
        "written, which rows of questions and answers need. A model that cannot be trained is "
        "listed with the reason. A Hub model that is not here is fetched when the run starts."
    )
    BINDINGS = [
        Binding("t", "type", "Hub id or path", id="model.type", tooltip="type a Hub id or a path"),
        Binding(
            "f", "add", "add folder", id="model.add", tooltip="look for models in one more folder"
        ),
        Binding("slash", "filter", "filter", id="model.filter", tooltip="only names, kinds …"),
        Binding("r", "rescan", "rescan", id="model.rescan", tooltip="look through the disks again"),
        Binding(
            "x", "forget", "forget folder", id="model.forget", tooltip="look in its folder no more"
        ),
        Binding("escape", "unfilter", "show all", id="model.unfilter", tooltip="show all again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._models: ModelList | None = None
        self._shown: dict[str, ModelEntry] = {}
        self._chosen = ""

    def compose_body(self) -> ComposeResult:
        yield Line(id="state")
        yield Filter("name, kind, architecture or dtype")
        yield ModelTable(*COLUMNS, id="table")
        yield Empty(id="empty")
        yield Lines(id="detail")
        yield AskLine(id="ask")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.query_one("#state", Line).say(dim("looking for models on this machine …"))
        self.follow("draft", self._show_draft)
        self._scan()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_detail)

    # What is shown.

    def _show_draft(self, draft: Draft) -> None:
        chosen = drafted_text(draft, "model.id")
        if chosen == self._chosen:
            return
        self._chosen = chosen
        if self._models is None:
            return
        if chosen and not any(self._is_chosen(entry) for entry in self._models.entries):
            self._scan()
        else:
            self._show()

    def _is_chosen(self, entry: ModelEntry) -> bool:
        return self._chosen in (entry.id, entry.place)

    def _show(self) -> None:
        if self._models is None:
            return
        words = self.query_one("#filter", Input).value.lower().split()
        shown = [e for e in self._models.entries if all(word in _haystack(e) for word in words)]
        self._shown = {entry.place: entry for entry in shown}
        self.query_one(Table).show([table_row(e, chosen=self._is_chosen(e)) for e in shown])
        self.set_class(not shown, "-empty")
        if not shown:
            self.query_one(Empty).show("No model matches.", ("Esc", "shows all again"))
        self._show_state()
        self._show_detail()
        self.refresh_bindings()

    def _show_state(self) -> None:
        if self._models is None:
            return
        entries = self._models.entries
        able = sum(usable(entry) for entry in entries)
        row = join(ink(f"{able:,}"), dim(f" model{'s' * (able != 1)} can be trained"))
        if len(entries) > able:
            row = join(row, dim("   "), ink(f"{len(entries) - able:,}"), dim(" cannot"))
        if self._models.gone:
            gone = one_line(", ".join(self._models.gone))
            row = join(row, dim("   "), ink(f"! not there any more: {gone}", TIGHT))
        elif not self._chosen:
            row = join(row, dim("   none chosen yet: Enter chooses"))
        self.query_one("#state", Line).say(row)

    def _show_detail(self) -> None:
        entry = self._pointed()
        if entry is None or self._models is None:
            self.query_one("#detail", Lines).say()
            return
        width = max(40, self.query_one("#detail", Lines).content_size.width or self.size.width - 4)
        note = self._models.notes.get(entry.place, "")
        rows = detail_rows(entry, note, width, chosen=self._is_chosen(entry))
        self.query_one("#detail", Lines).say(*rows)

    def _pointed(self) -> ModelEntry | None:
        return self._shown.get(self.query_one(Table).pointed or "")

    def _folder_of(self, entry: ModelEntry | None) -> str:
        """The remembered folder that an entry was found in; empty when it is in none."""
        if entry is None or self._models is None:
            return ""
        folders = sorted(self._models.folders, key=len, reverse=True)
        inside = (f for f in folders if (entry.place + "/").startswith(f.rstrip("/") + "/"))
        return next(inside, "")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "forget":
            return self.is_attached and bool(self._folder_of(self._pointed()))
        if action == "filter":
            return not isinstance(self.focused, Input)
        if action == "unfilter":
            return self.has_class("-filter")
        return True

    # What the user does.

    @on(Table.Pointed)
    def _moved(self) -> None:
        self._show_detail()
        self.refresh_bindings()

    @on(Table.Opened)
    def _opened(self) -> None:
        entry = self._pointed()
        if entry is None:
            return
        if usable(entry):
            self._choose(entry)
        else:
            self.say(f"{short_name(entry)} {entry.problem}", "error")

    def _choose(self, entry: ModelEntry) -> None:
        if not self._is_chosen(entry):
            self.post_message(SettingsChanged(model_changes(entry.id)))
        then = " Next, the dataset: 3." if place("data") is not None else ""
        self.post_message(Said(f"{short_name(entry)} is the draft's model.{then}", "good"))

    def action_type(self) -> None:
        hint = "A Hub id such as Qwen/Qwen2.5-1.5B-Instruct, a folder, or a GGUF file. → completes."
        self.query_one(AskLine).ask("type", "model", hint, value=self._chosen, completes=(".gguf",))

    def action_add(self) -> None:
        hint = "A folder with models in it or one level below, or a GGUF file. → completes."
        self.query_one(AskLine).ask("add", "folder", hint, completes=(".gguf",))

    def action_rescan(self) -> None:
        self.query_one("#state", Line).say(dim("looking for models on this machine …"))
        self._scan()

    def action_forget(self) -> None:
        if folder := self._folder_of(self._pointed()):
            self._forget(folder)

    def action_filter(self) -> None:
        self.add_class("-filter")
        self.query_one("#filter", Input).focus()
        self.refresh_bindings()

    def action_unfilter(self) -> None:
        self.remove_class("-filter")
        self.query_one("#filter", Input).value = ""
        self.query_one(Table).focus()
        self.refresh_bindings()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one(Table).focus()

    @on(AskLine.Answered)
    def _answered(self, answer: AskLine.Answered) -> None:
        if not answer.text:
            answer.ask.close()
            return
        answer.ask.wait("looking …")
        self._check(answer.purpose, answer.text)

    # What comes from the disk, by threads.

    @on(ModelsListed)
    def _listed(self, fact: ModelsListed) -> None:
        first, self._models = self._models is None, fact.models
        self._show()
        if first:
            chosen = (entry.place for entry in fact.models.entries if self._is_chosen(entry))
            self.query_one(Table).point(next(chosen, ""))

    @on(AnswerTaken)
    def _taken(self, fact: AnswerTaken) -> None:
        if not self.query_one(AskLine).purpose:
            return  # closed meanwhile
        self._models = fact.models
        self.query_one("#filter", Input).value = ""
        self._show()
        self.query_one(Table).point(fact.point)
        self.query_one(AskLine).close()
        if fact.changes and fact.changes["model.id"] != self._chosen:
            self.post_message(SettingsChanged(fact.changes))
        self.say(fact.said, "good")

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        self.query_one(AskLine).refuse(fact.why)

    @work(thread=True, exclusive=True, exit_on_error=False, group="scan")
    def _scan(self) -> None:
        from tui_lora.store.model_list import list_models

        listed = list_models(self._chosen)
        if not get_current_worker().is_cancelled:
            self.post_message(ModelsListed(listed))

    @work(thread=True, exclusive=True, exit_on_error=False, group="scan")
    def _check(self, purpose: str, text: str) -> None:
        if purpose == "add":
            self.post_message(added_folder(text, self._chosen))
        else:
            self.post_message(checked_model(text))

    @work(thread=True, exclusive=True, exit_on_error=False, group="scan")
    def _forget(self, folder: str) -> None:
        self.post_message(forgotten_folder(folder, self._chosen))
        self.post_message(Said(f"{folder} is not looked through any more."))


def _haystack(entry: ModelEntry) -> str:
    parts = (entry.id, entry.kind, entry.architecture, entry.model_type, entry.dtype)
    return " ".join(part.lower() for part in (*parts, entry.quantization) if part)
