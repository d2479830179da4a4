"""Models of the Hub in the place of those on this machine: a search and what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message

from tui_lora.core.text import one_line
from tui_lora.ui.ink import WRONG, dim, ink, join
from tui_lora.ui.model_hub import Asking, HubFound, HubTold, Told, searched, told
from tui_lora.ui.model_hub_text import HUB_COLUMNS, hub_detail, hub_row
from tui_lora.ui.screens.model_keys import HubTable
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.core.model_facts import ModelFacts
    from tui_lora.store.hub_models import HubModel


Fit = Callable[["ModelFacts", int], "list[Content]"]


class HubDeck(Vertical):
    """`search` asks the Hub; `Wanted` and `Picked` say what the user made of what it found."""

    class Wanted(Message):
        """This model is to be fetched."""

        def __init__(self, hub_id: str) -> None:
            self.hub_id = hub_id
            super().__init__()

    class Picked(Message):
        """This model, which is here, is to be trained."""

        def __init__(self, hub_id: str) -> None:
            self.hub_id = hub_id
            super().__init__()

    class Changed(Message):
        """Other keys mean something now."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.words = ""
        self._models: dict[str, HubModel] = {}
        self._told: dict[str, Told] = {}
        self._chosen = ""
        self._coming = ""
        self._fit: Fit = no_fit
        self._asking = Asking(self.post_message)

    def compose(self) -> ComposeResult:
        yield Line(id="hub-state")
        yield HubTable(*HUB_COLUMNS, id="hub-table")
        yield Empty(id="hub-empty")
        yield Lines(id="hub-detail")

    def on_unmount(self) -> None:
        self._asking.drop()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_detail)

    @property
    def busy(self) -> bool:
        """Whether the Hub is being asked."""
        return self._asking.busy

    @property
    def pointed(self) -> HubModel | None:
        return self._models.get(self.query_one(HubTable).pointed or "")

    @property
    def can_fetch(self) -> bool:
        model = self.pointed
        return model is not None and not model.problem and model.here != "wholly"

    def take_focus(self) -> None:
        self.query_one(HubTable).focus()

    def search(self, words: str) -> None:
        self.words = words
        named = join(dim(" with "), ink(one_line(words)), dim(" in their names")) if words else ""
        self._say(join(dim("asking the Hub for models"), named, dim(" …")))
        self._told.clear()
        self._asking.ask(partial(searched, words))
        self.post_message(self.Changed())

    def stop(self) -> None:
        """Wait for the Hub no longer."""
        if self._asking.busy:
            self._asking.drop()
            self._say(dim("stopped: the Hub was not waited for"))
            self.post_message(self.Changed())

    def show_use(self, chosen: str, coming: str) -> None:
        """Which model is the draft's, and which one is on its way."""
        if (chosen, coming) != (self._chosen, self._coming):
            self._told.pop(self._coming, None)  # less of it is to be fetched now
            self._chosen, self._coming = chosen, coming
            self._show()

    def show_here(self, here: Mapping[str, Literal["partly", "wholly"]]) -> None:
        """Which models this machine has by now."""
        for hub_id, model in self._models.items():
            self._models[hub_id] = replace(model, here=here.get(hub_id, ""))
        self._show()

    def show_fit(self, fit: Fit) -> None:
        """`fit` gives the rows that say how a model of such sizes fits the card, of that width."""
        self._fit = fit
        self._show_detail()

    # What is shown.

    def _say(self, words: Content) -> None:
        self.query_one("#hub-state", Line).say(words)

    def _say_found(self) -> None:
        many = len(self._models)
        order = "the most fetched first; Esc goes back to those here"
        self._say(join(ink(f"{many}"), dim(f" model{'s' * (many != 1)} of the Hub, {order}")))

    def _show(self) -> None:
        rows = [
            hub_row(model, chosen=model.id == self._chosen, coming=model.id == self._coming)
            for model in self._models.values()
        ]
        self.query_one(HubTable).show(rows)
        self.set_class(not rows, "-empty")
        self._show_detail()
        self.post_message(self.Changed())

    def _show_detail(self) -> None:
        model, area = self.pointed, self.query_one("#hub-detail", Lines)
        if model is None:
            area.say()
            return
        width = max(40, area.content_size.width or self.app.size.width - 4)
        coming = model.id == self._coming
        known = self._told.get(model.id)
        fit = [] if known is None or known.facts is None else self._fit(known.facts, width)
        area.say(*hub_detail(model, known, width, coming=coming, fit=fit))

    @on(HubFound)
    def _found(self, fact: HubFound) -> None:
        self._models = {model.id: model for model in fact.models}
        self._show()
        if fact.problem:
            self._say(ink("✗ the search did not work", WRONG))
            self._explain(f"{fact.problem[:1].upper()}{fact.problem[1:]}\n{fact.then}".strip())
        elif not fact.models:
            self._say(dim("nothing found"))
            named = f" with {one_line(fact.words)} in its name" if fact.words else ""
            self._explain(f"The Hub has no model that writes text{named}.")
        else:
            self._say_found()
            self.query_one(HubTable).point(fact.models[0].id)

    def _explain(self, why: str) -> None:
        keys = ("h", "searches again"), ("Esc", "goes back to the models on this machine")
        self.query_one(Empty).show(why, *keys)

    @on(HubTold)
    def _answered(self, fact: HubTold) -> None:
        now = fact.told
        self._told[now.id] = now
        if now.model is not None:
            # The list said less, and maybe nothing of its licence.
            self._models[now.id] = now.model
        self._say_found()
        self._show()

    # What the user does.

    @on(Table.Pointed)
    def _moved(self, event: Table.Pointed) -> None:
        event.stop()
        self._show_detail()
        self.post_message(self.Changed())

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        model = self.pointed
        if model is None or model.id == self._coming:
            return
        known = self._told.get(model.id)
        if model.here == "wholly" and not model.problem:
            self.post_message(self.Picked(model.id))
        elif known is not None and not known.problem and self.can_fetch:
            self.post_message(self.Wanted(model.id))
        else:
            self._say(dim(f"asking the Hub about {one_line(model.id)} …"))
            self._asking.ask(partial(told, model.id))
            self.post_message(self.Changed())


def no_fit(facts: ModelFacts, width: int) -> list[Content]:
    return []
