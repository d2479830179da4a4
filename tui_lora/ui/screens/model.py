"""Model: the models on this machine and on the Hub, and the one that the draft uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input
from textual.worker import get_current_worker

from tui_lora.core.text import duration, shorten_middle, size
from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.inspector import Answered, InspectorChanged
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
from tui_lora.ui.model_fetch import FetchChanged, FetchLink, fetch_of
from tui_lora.ui.model_hub_text import fetch_rows
from tui_lora.ui.model_pointed import PointedModel
from tui_lora.ui.model_sizes import SizesRead
from tui_lora.ui.model_text import can_be_fetched, is_locked, short_name
from tui_lora.ui.model_trust import CodeRead, read_again, show_code
from tui_lora.ui.page import Page
from tui_lora.ui.screens.model_keys import HELP, KEYS
from tui_lora.ui.state import Draft, MemorySeen
from tui_lora.ui.widgets.headroom import ModelHeadroom
from tui_lora.ui.widgets.hub_deck import HubDeck
from tui_lora.ui.widgets.line import Lines
from tui_lora.ui.widgets.model_deck import ModelDeck

if TYPE_CHECKING:
    from tui_lora.store.model_entry import ModelEntry


class ModelScreen(Page):
    TITLE_WORD = "Model"
    OF_DRAFT = True
    CSS_PATH = "model.tcss"
    HELP = HELP
    BINDINGS = KEYS

    def __init__(self) -> None:
        super().__init__()
        self._chosen = ""
        self._here = ModelDeck(id="here")
        self._hub = HubDeck(id="hub")

    def compose_body(self) -> ComposeResult:
        yield Horizontal(self._here, self._hub, ModelHeadroom(id="headroom"), id="beside")
        yield AskLine(id="ask")
        yield Lines(id="fetch")

    def on_mount(self) -> None:
        self._here.table.focus()
        self._here.wait()
        self._pointed = PointedModel(self, self._show_fit)
        self._here.show_fit(self._pointed.rows)
        self._hub.show_fit(self._pointed.rows_of_hub)
        self.follow("draft", self._show_draft)
        self.follow("memory_seen", lambda seen: self._look())
        self._link.tell(self)
        self._scan()

    def on_unmount(self) -> None:
        self._link.forget(self)
        self._pointed.leave()

    def on_screen_suspend(self) -> None:
        self._pointed.leave()

    def on_screen_resume(self) -> None:
        found = self._pointed.seen.forecast
        self._look(again=found is None or found.method == "formula")

    def on_resize(self) -> None:
        self._show_fetch()

    @property
    def _link(self) -> FetchLink:
        return fetch_of(self.app)

    @property
    def _on_hub(self) -> bool:
        return self.has_class("-hub")

    @property
    def _fetch_is_over(self) -> bool:
        """Whether it is still shown why a model did not come."""
        return self._link.state.phase in ("failed", "stopped")

    # What is shown.

    def _show_draft(self, draft: Draft) -> None:
        chosen = drafted_text(draft, "model.id")
        self._here.show_chosen(chosen, drafted_text(draft, "model.trust_remote_code"))
        self._look()
        if chosen == self._chosen:
            return
        self._chosen = chosen
        self._show_use()
        if chosen and not self._here.knows(chosen):
            self._scan()

    def _show_use(self) -> None:
        state = self._link.state
        self._hub.show_use(self._chosen, state.id if state.alive else "")

    def _show_fetch(self) -> None:
        rows = fetch_rows(self._link.state, self.size.width - 4)
        self.set_class(bool(rows), "-fetch")
        self.query_one("#fetch", Lines).say(*rows)

    def _look(self, *, again: bool = False) -> None:
        """How the model under the cursor fits, if it is another or the draft or the card is."""
        entry = self._here.pointed
        chosen = entry is not None and self._here.is_chosen(entry)
        self._pointed.point(entry, chosen=chosen, again=again)

    def _show_fit(self, seen: MemorySeen) -> None:
        self.query_one(ModelHeadroom).show(seen)
        self._here.show_fit(self._pointed.rows)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached:
            return True
        match action:
            case "forget":
                return not self._on_hub and bool(self._here.folder)
            case "filter":
                return not self._on_hub and not isinstance(self.focused, Input)
            case "back":
                return self._on_hub or self._here.filtered or self._fetch_is_over
            case "stop":
                return self._hub.busy or self._link.state.alive
            case "fetch":
                return bool(self._to_fetch())
            case "code":
                entry = self._here.pointed
                return not self._on_hub and entry is not None and entry.code is not None
            case "add" | "type":
                return not self._on_hub
        return True

    def _to_fetch(self) -> str:
        """The Hub id that f fetches now; empty when there is nothing to fetch."""
        if self._on_hub:
            model = self._hub.pointed
            return model.id if model is not None and self._hub.can_fetch else ""
        entry = self._here.pointed
        return entry.id if entry is not None and can_be_fetched(entry) else ""

    @on(ModelDeck.Changed)
    @on(HubDeck.Changed)
    def _changed_below(self) -> None:
        self.refresh_bindings()
        self._look()

    @on(Answered)
    @on(InspectorChanged)
    @on(SizesRead)
    def _inspected(self, fact: Answered | InspectorChanged | SizesRead) -> None:
        fact.stop()
        self._pointed.hear(fact)

    # Choosing a model.

    @on(ModelDeck.Opened)
    def _opened(self, fact: ModelDeck.Opened) -> None:
        entry = fact.entry
        if is_locked(entry, self._here.trusted(entry)):
            self._read_code(entry)
        elif entry.usable:
            self._choose(entry.id)
        else:
            self.say(f"{short_name(entry.id)} {entry.problem}", "error")

    @on(HubDeck.Picked)
    def _picked(self, fact: HubDeck.Picked) -> None:
        entry = self._here.entry_of(fact.hub_id)
        if entry is not None and is_locked(entry, self._here.trusted(entry)):
            self._read_code(entry)
        else:
            self._choose(fact.hub_id)

    def _choose(self, model_id: str) -> None:
        if self._chosen != model_id:
            self.post_message(SettingsChanged(model_changes(model_id)))
        then = " Next, the dataset: 3." if place("data") is not None else ""
        name = shorten_middle(short_name(model_id), 32)
        self.post_message(Said(f"{name} is the draft's model.{then}", "good"))

    # The code that comes with a model.

    def action_code(self) -> None:
        if (entry := self._here.pointed) is not None:
            self._read_code(entry)

    @on(CodeRead)
    def _code_read(self, fact: CodeRead) -> None:
        show_code(self, fact, trusts=self._here.trusted(fact.entry), look_again=self._scan)

    # What is asked in the line below.

    def action_type(self) -> None:
        hint = "A Hub id such as Qwen/Qwen2.5-1.5B-Instruct, a folder, or a GGUF file. → completes."
        self.query_one(AskLine).ask("type", "model", hint, value=self._chosen, completes=(".gguf",))

    def action_add(self) -> None:
        hint = "A folder with models in it or one level below, or a GGUF file. → completes."
        self.query_one(AskLine).ask("add", "folder", hint, completes=(".gguf",))

    def action_hub(self) -> None:
        hint = "Part of a name, such as qwen 0.5b. Empty: the models that are fetched most."
        self.query_one(AskLine).ask("hub", "search the Hub", hint, value=self._hub.words)

    @on(AskLine.Answered)
    def _answered(self, answer: AskLine.Answered) -> None:
        if answer.purpose == "hub":
            answer.ask.close()
            self.add_class("-hub")
            self._hub.take_focus()
            self._hub.search(answer.text)
        elif not answer.text:
            answer.ask.close()
        else:
            answer.ask.wait("looking …")
            self._check(answer.purpose, answer.text)

    @on(AnswerTaken)
    def _taken(self, fact: AnswerTaken) -> None:
        if not self.query_one(AskLine).purpose:
            return  # closed meanwhile
        self._here.show(fact.models, point=fact.point)
        self.query_one(AskLine).close()
        if fact.changes and fact.changes["model.id"] != self._chosen:
            self.post_message(SettingsChanged(fact.changes))
        self.say(fact.said, "good")

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        self.query_one(AskLine).refuse(fact.why)

    # Looking around.

    def action_rescan(self) -> None:
        if self._on_hub:
            self._hub.search(self._hub.words)
        else:
            self._here.wait()
            self._scan()

    def action_forget(self) -> None:
        if folder := self._here.folder:
            self._forget(folder)

    def action_filter(self) -> None:
        self._here.filter()
        self.refresh_bindings()

    def action_back(self) -> None:
        if self._fetch_is_over:
            self._link.dismiss()
            return
        if self._on_hub:
            self._hub.stop()
            self.remove_class("-hub")
            self._here.point_at_chosen()
        else:
            self._here.show_all()
        self._here.table.focus()
        self.refresh_bindings()

    # Fetching.

    def action_fetch(self) -> None:
        self._fetch(self._to_fetch())

    @on(HubDeck.Wanted)
    def _wanted(self, fact: HubDeck.Wanted) -> None:
        self._fetch(fact.hub_id)

    def _fetch(self, hub_id: str) -> None:
        state = self._link.state
        if state.alive:
            self.say(f"{state.id} is on its way, and one comes at a time; c stops it.", "warning")
        elif hub_id:
            self._link.fetch(hub_id)

    def action_stop(self) -> None:
        if self._hub.busy:
            self._hub.stop()
        else:
            self._link.stop()

    @on(FetchChanged)
    def _fetch_changed(self, fact: FetchChanged) -> None:
        state = fact.state
        self._show_fetch()
        self._show_use()
        if state.phase == "done":
            took = f"{size(state.total_bytes)} in {duration(state.seconds)}"
            self.post_message(Said(f"{state.id} is here: {took}. Enter chooses it.", "good"))
        elif state.phase == "failed" and not self.is_current:
            self.post_message(Said(f"{state.id} was not fetched; 2 says why.", "error"))
        if state.phase in ("done", "failed", "stopped"):
            self._scan()
        self.refresh_bindings()

    # What comes from the disk, by threads.

    @on(ModelsListed)
    def _listed(self, fact: ModelsListed) -> None:
        self._here.show(fact.models)
        self._look(again=True)
        self._hub.show_here(
            {
                entry.id: "partly" if entry.incomplete else "wholly"
                for entry in fact.models.entries
                if entry.kind == "hub"
            }
        )

    @work(thread=True, exclusive=True, exit_on_error=False, group="scan")
    def _scan(self) -> None:
        from tui_lora.store.model_list import list_models

        listed = list_models(self._chosen)
        if not get_current_worker().is_cancelled:
            self.post_message(ModelsListed(listed))

    @work(thread=True, exclusive=True, exit_on_error=False, group="code")
    def _read_code(self, entry: ModelEntry) -> None:
        self.post_message(read_again(entry))

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
