"""Asks the inspect worker how much of a card the draft takes, and keeps the answer up to date."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message
from textual.timer import Timer

from tui_lora.core.cards import Card, card_called
from tui_lora.core.text import one_line
from tui_lora.ui.drafted import drafted
from tui_lora.ui.inspector import Answered, Inspector, InspectorChanged
from tui_lora.ui.model_looks import Later, wire_of
from tui_lora.ui.model_sizes import Key, SizesRead, key_of, read_sizes
from tui_lora.ui.state import CardSeen, Draft, MemorySeen

if TYPE_CHECKING:
    from tui_lora.core.memory import Forecast
    from tui_lora.core.model_facts import ModelFacts
    from tui_lora.core.sensors import CardReading, SensorReading
    from tui_lora.core.spec import RunSpec

_SECTIONS = ("model", "quantization", "task", "lora")
_OF_TRAINING = (
    "micro_batch",
    "max_length",
    "packing",
    "optimizer",
    "gradient_checkpointing",
    "checkpoint_layers",
)
"""What of a training its memory depends on."""

_ASKED_WITH = (*_SECTIONS, *(f"training.{name}" for name in _OF_TRAINING), "hardware.devices")

_SETTLES_S = 0.1
"""What is no longer wanted is left off at once, so that little is lost by asking early."""

InThread = Callable[[Callable[[], object]], object]


class MemoryLooks:
    """`follow` the draft; `show` hears what it takes each time that more is known.

    The card is known always; nothing is asked before the first `begin`, by a screen that shows it.
    `remembered` names a card that was asked about on another day.
    """

    def __init__(
        self,
        inspector: Inspector,
        root: Path,
        show: Callable[[MemorySeen], object],
        later: Later,
        in_thread: InThread,
        post: Callable[[Message], object],
        *,
        remembered: str = "",
    ) -> None:
        self._inspector = inspector
        self._root = root
        self._show = show
        self._later = later
        self._in_thread = in_thread
        self._post = post
        self._remembered = _known(remembered)
        self._asked: Card | None = None
        self._reading: SensorReading | None = None
        self._sizes: dict[Key, ModelFacts | None] = {}
        self._wanted = False
        self._draft = Draft()
        self._key = ""
        self._seen = MemorySeen()
        self._timer: Timer | None = None

    def begin(self, draft: Draft) -> None:
        """Somebody shows it from now on. Starts the worker, which imports for seconds, where a
        model is chosen; asks again where there was no answer, since what it lacked may be here."""
        found = self._seen.forecast
        simulated = found is not None and found.method == "simulated"
        if not self._wanted or not (simulated or self._seen.busy):
            self._wanted, self._key = True, ""
            self.follow(draft)

    def follow(self, draft: Draft) -> None:
        """Forget at once what no longer holds, and ask anew once the draft has settled."""
        self._draft = draft
        self._look()

    def see_cards(self, reading: SensorReading | None) -> None:
        self._reading = reading
        self._look()

    def ask_about(self, card: Card | None) -> None:
        """Hold the draft against this card from now on; None: against the one that is here."""
        self._asked, self._remembered = card, card
        self._look()

    def _look(self) -> None:
        devices = drafted(self._draft, "hardware.devices")
        card = card_seen(self._reading, devices, self._asked, self._remembered)
        capability = card.capability if card is not None else None
        context = card.context_gib if card is not None else None
        key = _key(self._draft, capability, context) if self._wanted else ""
        if key == self._key:
            # What others hold changes no forecast.
            if card != self._seen.card:
                self._tell(replace(self._seen, card=card))
            return
        self._key = key
        if self._timer is not None:
            self._timer.stop()
        self._inspector.drop("memory")
        spec, why = forecastable(self._draft)
        if spec is None:
            self._tell(MemorySeen(card, why=why))
            return
        self._tell(MemorySeen(card, spec, self._reckoned(spec, card), busy=True))
        if key_of(spec.model) not in self._sizes:
            self._in_thread(partial(read_sizes, spec.model, self._post))
        self._inspector.start()
        self._timer = self._later(_SETTLES_S, self._ask)

    def _ask(self) -> None:
        from tui_lora.core.inspect import ForecastMemory

        assert self._seen.spec is not None
        if self._inspector.state == "ended":
            self._tell(replace(self._seen, busy=False))
            return
        # Of a model that was looked at before the files may be others now.
        self._in_thread(partial(read_sizes, self._seen.spec.model, self._post))
        self._inspector.ask("memory", ForecastMemory, **asked_with(self._seen, self._root))

    def hear(self, fact: Answered | InspectorChanged | SizesRead) -> None:
        """The worker's answer to the newest question, which is that of the present draft, how the
        worker is, or a model's sizes."""
        from tui_lora.core.inspect import InspectFailed, MemoryForecast

        seen = self._seen
        if isinstance(fact, SizesRead):
            self._know_sizes(fact)
            return
        if not self._wanted or seen.spec is None:
            return
        # What other screens asked comes by on its way up.
        answer = fact.answer if isinstance(fact, Answered) and fact.kind == "memory" else None
        if isinstance(answer, MemoryForecast):
            found, why = answer.forecast or seen.forecast, one_line(answer.unknown)
            stored = found.stored if found is not None else ""
            busy = not answer.exact
            self._tell(replace(seen, forecast=found, busy=busy, why=why, stored=stored))
        elif isinstance(answer, InspectFailed):
            self._tell(replace(seen, busy=False, why=one_line(answer.message)))
        elif isinstance(fact, InspectorChanged) and fact.state == "ended":
            why = one_line(f"the inspect worker ended: {fact.words}")
            self._tell(replace(seen, busy=False, why=why))

    def _know_sizes(self, fact: SizesRead) -> None:
        known = self._sizes.get(fact.key)
        self._sizes[fact.key] = fact.facts
        seen = self._seen
        if seen.spec is None or key_of(seen.spec.model) != fact.key or known == fact.facts:
            return
        if seen.forecast is None or seen.forecast.method == "formula":
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
        self._seen = seen
        self._show(seen)


def forecastable(draft: Draft) -> tuple[RunSpec | None, str]:
    """The draft's spec, if a figure can be had for it, else why not."""
    from tui_lora.ui.forms.checked import NEEDED, check

    checked = check(draft)
    if checked.sound is None:
        return None, "some settings do not hold"
    if NEEDED["model"] in checked.wrong:
        return None, "no model is chosen yet"
    wrong = [path for path in sorted(checked.wrong) if _counts(path)]
    if wrong:
        return None, f"{wrong[0]} does not hold"
    if checked.sound.hardware.devices == "cpu":
        return None, "it is trained on the processor, and takes no card's memory"
    return checked.sound, ""


def card_seen(
    reading: SensorReading | None,
    devices: object = "auto",
    asked: Card | None = None,
    remembered: Card | None = None,
) -> CardSeen | None:
    """The card to hold a run against: the one that was asked about, the one that is here and
    `devices` names, else the first, else the one `remembered`."""
    if asked is None and reading is not None and reading.cards:
        return _present(reading.card_of(str(devices)) or reading.cards[0])
    card = asked or (remembered if reading is not None else None)
    if card is None:
        return None
    return CardSeen(card.name, card.total_gib, capability=card.capability, asked=True)


def plain_card(card: CardSeen | None) -> Card:
    if card is None:
        return Card("", 0.0)
    return Card(card.name, card.total_gib or 0.0, card.capability)


def asked_with(seen: MemorySeen, root: Path) -> dict[str, Any]:
    """The fields of a question about the memory of a spec that is there."""
    assert seen.spec is not None
    card, sized = seen.card, seen.card is not None and seen.card.total_gib is not None
    return {
        "spec": wire_of(seen.spec, root),
        "card": card.name if card is not None and sized else "",
        "total_gib": card.total_gib if card is not None else None,
        "capability": card.capability if card is not None else None,
        "context_gib": card.context_gib if card is not None else None,
    }


def _present(card: CardReading) -> CardSeen:
    name = one_line(card.name).removeprefix("NVIDIA ").removeprefix("GeForce ")
    known = _known(name)
    capability = card.capability or (known.capability if known is not None else None)
    return CardSeen(
        name,
        card.total_gib,
        card.used_gib or 0.0,
        capability,
        context_gib=card.context_gib,
        context_source=card.context_source,
    )


def _known(name: str) -> Card | None:
    try:
        return card_called(name) if name else None
    except ValueError:
        return None


def _counts(path: str) -> bool:
    return path in _ASKED_WITH or path.partition(".")[0] in _SECTIONS


def _key(draft: Draft, capability: tuple[int, int] | None, context_gib: float | None) -> str:
    told = [drafted(draft, path) for path in _ASKED_WITH]
    return json.dumps([told, capability, context_gib], sort_keys=True, default=str)
