"""Asks the inspect worker how much of a card a draft takes, and keeps the answer up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message
from textual.timer import Timer

from tui_lora.core.cards import Card, card_called
from tui_lora.core.text import one_line
from tui_lora.ui.drafted import drafted
from tui_lora.ui.inspector import Answered, Inspector, InspectorChanged, Kind
from tui_lora.ui.memory_asked import (
    asked_with,
    card_seen,
    forecastable,
    key_of_question,
    no_card,
    plain_card,
)
from tui_lora.ui.model_hub import Asking
from tui_lora.ui.model_looks import Later
from tui_lora.ui.model_sizes import Key, SizesRead, fetched_sizes, key_of, read_sizes
from tui_lora.ui.state import CardSeen, Draft, MemorySeen

if TYPE_CHECKING:
    from tui_lora.core.memory import Forecast
    from tui_lora.core.model_facts import ModelFacts
    from tui_lora.core.sensors import SensorReading
    from tui_lora.core.spec import RunSpec

_SETTLES_S = 0.1
"""What is no longer wanted is left off at once, so that little is lost by asking early."""

FETCHING = "fetching its config.json from the Hub …"

InThread = Callable[[Callable[[], object]], object]
Show = Callable[[MemorySeen], object]


class Looking:
    """`look` at a draft on a card; `show` hears what it takes each time that more is known: by the
    formula at once, simulated when it has stayed so for `settles_s`.

    Questions are of that `kind`, one at a time: the one before is dropped. `alone`: other sizes,
    which the worker simulates for the next questions, are not wanted. Of a model of the Hub that is
    not here, config.json alone is fetched.
    """

    def __init__(
        self,
        kind: Kind,
        inspector: Inspector,
        root: Path,
        show: Show,
        later: Later,
        in_thread: InThread,
        post: Callable[[Message], object],
        *,
        settles_s: float = _SETTLES_S,
        alone: bool = False,
    ) -> None:
        self._kind = kind
        self._inspector = inspector
        self._root = root
        self._show = show
        self._later = later
        self._in_thread = in_thread
        self._post = post
        self._settles_s = settles_s
        self._alone = alone
        self._sizes: dict[Key, ModelFacts | None] = {}
        self._hub = Asking(post)
        self._model: Key | None = None
        self._no_config = ""
        self._key = ""
        self._timer: Timer | None = None
        self.seen = MemorySeen()

    @property
    def facts(self) -> ModelFacts | None:
        """The sizes of the model that is looked at, where they are known."""
        return None if self._model is None else self._sizes.get(self._model)

    def look(self, draft: Draft, card: CardSeen | None, no_card: str, *, again: bool) -> None:
        """Forget at once what no longer holds, and ask anew once the draft has settled.

        `no_card` says why there is no card; `again`: even where it is asked about already.
        """
        capability = card.capability if card is not None else None
        context = card.context_gib if card is not None else None
        key = key_of_question(draft, capability, context)
        if key == self._key and not again:
            # What others hold changes no forecast.
            self.hold_against(card, no_card)
            return
        self._key = key
        self.drop()
        spec, why = forecastable(draft)
        model = None if spec is None else key_of(spec.model)
        if model != self._model or again:
            self._model, self._no_config = model, ""
            self._hub.drop()
        if spec is None:
            self._tell(MemorySeen(card, why=why, no_card=no_card))
            return
        found = self._reckoned(spec, card)
        self._tell(MemorySeen(card, spec, found, busy=True, no_card=no_card))
        if model not in self._sizes:
            self._in_thread(partial(read_sizes, spec.model, self._post))
        self._inspector.start()
        self._timer = self._later(self._settles_s, self._ask)

    def hold_against(self, card: CardSeen | None, no_card: str) -> None:
        """Another card, or the same with more or less on it."""
        if (card, no_card) != (self.seen.card, self.seen.no_card):
            self._tell(replace(self.seen, card=card, no_card=no_card))

    def drop(self) -> None:
        """Want no answer any more."""
        if self._timer is not None:
            self._timer.stop()
        self._inspector.drop(self._kind)

    def look_at_nothing(self, card: CardSeen | None, no_card: str, why: str) -> None:
        """There is no draft to look at; `why` says so."""
        self.drop()
        self._hub.drop()
        self._key, self._model = "", None
        self._tell(MemorySeen(card, why=why, no_card=no_card))

    def _ask(self) -> None:
        from tui_lora.core.inspect import ForecastMemory

        assert self.seen.spec is not None
        if self._hub.busy:
            return  # it is asked once config.json is here
        if self._inspector.state == "ended":
            self._tell(replace(self.seen, busy=False))
            return
        # Of a model that was looked at before the files may be others now.
        self._in_thread(partial(read_sizes, self.seen.spec.model, self._post))
        self._inspector.ask(self._kind, ForecastMemory, **asked_with(self.seen, self._root))

    def hear(self, fact: Answered | InspectorChanged | SizesRead) -> None:
        """The worker's answer to the newest question, which is that of the present draft, how the
        worker is, or a model's sizes."""
        from tui_lora.core.inspect import InspectFailed, MemoryForecast

        seen = self.seen
        if isinstance(fact, SizesRead):
            self._know_sizes(fact)
            return
        if not self._key or seen.spec is None or self._hub.busy:
            return
        # What other screens asked comes by on its way up.
        answer = fact.answer if isinstance(fact, Answered) and fact.kind == self._kind else None
        if isinstance(answer, MemoryForecast):
            found = answer.forecast or seen.forecast
            why = one_line(answer.unknown) if found else self._no_config or one_line(answer.unknown)
            stored = found.stored if found is not None else ""
            busy = not answer.exact
            if answer.exact and self._alone:
                self._inspector.drop(self._kind)
            self._tell(replace(seen, forecast=found, busy=busy, why=why, stored=stored))
        elif isinstance(answer, InspectFailed):
            self._tell(replace(seen, busy=False, why=one_line(answer.message)))
        elif isinstance(fact, InspectorChanged) and fact.state == "ended":
            why = one_line(f"the inspect worker ended: {fact.words}")
            self._tell(replace(seen, busy=False, why=why))

    def _know_sizes(self, fact: SizesRead) -> None:
        known = self._sizes.get(fact.key)
        self._sizes[fact.key] = fact.facts
        seen = self.seen
        if not self._key or seen.spec is None or self._model != fact.key:
            return
        if fact.to_be_had and not self._hub.busy and not self._no_config:
            self._hub.ask(partial(fetched_sizes, seen.spec.model))
            self._tell(replace(seen, busy=True, why=FETCHING))
        elif fact.problem:
            self._no_config = fact.problem
            self._tell(replace(seen, busy=False, why=fact.problem))
        elif fact.fetched:
            # The worker knows it by now, and the formula already.
            found = self._reckoned(seen.spec, seen.card)
            self._tell(replace(seen, forecast=found, busy=True, why=""))
            self._inspector.start()
            self._ask()
        elif known != fact.facts and (seen.forecast is None or seen.forecast.method == "formula"):
            self._tell(replace(seen, forecast=self._reckoned(seen.spec, seen.card)))

    def _reckoned(self, spec: RunSpec, card: CardSeen | None) -> Forecast | None:
        """By the formula; None where the model's sizes are not known."""
        from tui_lora.core.memory import CONTEXT_GIB
        from tui_lora.core.memory_formula import formula

        facts = self._sizes.get(key_of(spec.model))
        if facts is None:
            return None
        context = card.context_gib if card is not None else None
        known = CONTEXT_GIB if context is None else context
        return formula(facts, spec, plain_card(card), context_gib=known)

    def _tell(self, seen: MemorySeen) -> None:
        self.seen = seen
        self._show(seen)


class MemoryLooks:
    """`follow` the draft, which is looked at on the card that it is held against.

    The card is known always; nothing is asked before the first `begin`, by a screen that shows it.
    `remembered` names a card that was asked about on another day.
    """

    def __init__(self, looking: Looking, *, remembered: str = "") -> None:
        self._looking = looking
        self._remembered = _known(remembered)
        self._asked: Card | None = None
        self._reading: SensorReading | None = None
        self._wanted = False
        self._draft = Draft()

    def begin(self, draft: Draft) -> None:
        """Somebody shows it from now on. Starts the worker, which imports for seconds, where a
        model is chosen; asks again where there was no answer, since what it lacked may be here."""
        found = self._looking.seen.forecast
        simulated = found is not None and found.method == "simulated"
        if not self._wanted or not (simulated or self._looking.seen.busy):
            self._wanted, self._draft = True, draft
            self._look(again=True)

    def follow(self, draft: Draft) -> None:
        self._draft = draft
        self._look()

    def see_cards(self, reading: SensorReading | None) -> None:
        self._reading = reading
        self._look()

    def ask_about(self, card: Card | None) -> None:
        """Hold the draft against this card from now on; None: against the one that is here."""
        self._asked, self._remembered = card, card
        self._look()

    def hear(self, fact: Answered | InspectorChanged | SizesRead) -> None:
        self._looking.hear(fact)

    def _look(self, *, again: bool = False) -> None:
        devices = drafted(self._draft, "hardware.devices") or "auto"
        card = card_seen(self._reading, devices, self._asked, self._remembered)
        why = no_card(self._reading, devices) if card is None else ""
        if self._wanted:
            self._looking.look(self._draft, card, why, again=again)
        else:
            self._looking.hold_against(card, why)


def _known(name: str) -> Card | None:
    try:
        return card_called(name) if name else None
    except ValueError:
        return None
