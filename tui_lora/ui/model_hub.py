"""What the Model screen asks of the Hub: in threads of its own, answered with facts.

They are daemons, and not the screen's workers: a Hub that does not answer must not keep the
program from leaving.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError

if TYPE_CHECKING:
    from tui_lora.core.model_facts import ModelFacts
    from tui_lora.store.fetching import FetchPlan
    from tui_lora.store.hub_models import HubModel


@dataclass(frozen=True)
class Told:
    """What the Hub says of one model. `problem` and `then`: why it cannot be fetched. `facts`: its
    sizes, where its config.json tells them."""

    id: str
    model: HubModel | None = None
    plan: FetchPlan | None = None
    free_bytes: int | None = None
    problem: str = ""
    then: str = ""
    facts: ModelFacts | None = None


class HubFound(Message):
    """A search ended; `problem` and `then` say why in vain."""

    def __init__(
        self, words: str, models: tuple[HubModel, ...], problem: str = "", then: str = ""
    ) -> None:
        self.words = words
        self.models = models
        self.problem = problem
        self.then = then
        super().__init__()


class HubTold(Message):
    """The Hub was asked about one model."""

    def __init__(self, told: Told) -> None:
        self.told = told
        super().__init__()


class Asking:
    """Asks one thing at a time; the answer to an older question, or a dropped one, is lost."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self._post = post
        self._serial = 0
        self.busy = False

    def ask(self, question: Callable[[], Message]) -> None:
        self._serial += 1
        self.busy = True
        args = (question, self._serial)
        threading.Thread(target=self._run, args=args, name="hub", daemon=True).start()

    def drop(self) -> None:
        self._serial += 1
        self.busy = False

    def _run(self, question: Callable[[], Message], serial: int) -> None:
        answer = question()
        if serial == self._serial:
            self.busy = False
            with suppress(RuntimeError):  # the UI has left
                self._post(answer)


def searched(words: str) -> Message:
    """The models of the Hub that a search finds."""
    from tui_lora.store.hub_models import search

    try:
        return HubFound(words, tuple(search(words)))
    except UserError as error:
        return HubFound(words, (), error.what, error.then)


def told(hub_id: str) -> Message:
    """What a model of the Hub is, and what fetching it takes."""
    from tui_lora.store.fetching import check_room, free_bytes, plan
    from tui_lora.store.model_sizes import facts_on_hub

    model = wanted = facts = None
    try:
        model, wanted = plan(hub_id)
        facts = facts_on_hub(hub_id)
        check_room(wanted)
        return HubTold(Told(hub_id, model, wanted, free_bytes(), facts=facts))
    except UserError as error:
        return HubTold(Told(hub_id, model, wanted, free_bytes(), error.what, error.then, facts))
