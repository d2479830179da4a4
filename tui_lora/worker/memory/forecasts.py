"""Answers questions about memory, and remembers what was found for the same settings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterator

from tui_lora.core.cards import Card, card_called
from tui_lora.core.errors import UserError
from tui_lora.core.inspect import ForecastMemory, MemoryForecast
from tui_lora.core.memory import CONTEXT_GIB, Forecast
from tui_lora.core.spec import RunSpec
from tui_lora.worker.last_used import LastUsed
from tui_lora.worker.memory.forecast import Simulation, Unknown, between, prepared, simulated
from tui_lora.worker.memory.storages import Dropped
from tui_lora.worker.time_limit import TookTooLong, time_limit

_KEPT, _SIMULATIONS_KEPT = 200, 6
_LIMIT_S = 120.0

_OF_TRAINING = (
    "micro_batch",
    "max_length",
    "packing",
    "optimizer",
    "gradient_checkpointing",
    "checkpoint_layers",
)
"""What of a spec's training its memory depends on."""

_SIZES = ("micro_batch", "max_length")

GoOn = Callable[[], bool]


class Forecasts:
    """Keeps the forecasts that were made last, and what was seen of the runs asked about last."""

    def __init__(self) -> None:
        self._found: LastUsed[Forecast | Unknown] = LastUsed(_KEPT)
        self._simulations: LastUsed[Simulation | Unknown] = LastUsed(_SIMULATIONS_KEPT)

    def answers(
        self,
        asked: ForecastMemory,
        spec: RunSpec,
        stamp: Hashable,
        go_on: GoOn = lambda: True,
        idle: GoOn = lambda: True,
    ) -> Iterator[MemoryForecast | None]:
        """The answer; where it lies between simulated sizes, what lies there first, as one that is
        not exact. Then, while nobody asks for anything else (`idle`), sizes around it are
        simulated, one before each None.

        `stamp` is another one once the model's files are changed. Ends without a word when `go_on`
        says no. Raises UserError for a spec that cannot be run, and for a card that is none.
        """
        card = card_of(asked)
        early = self.between(spec, card, stamp, asked.context_gib)
        if early is not None:
            yield MemoryForecast(id=asked.id, forecast=early, exact=False)
        try:
            found = self.of(spec, card, stamp, asked.context_gib, go_on)
        except Dropped:
            return
        if isinstance(found, Unknown):
            yield MemoryForecast(id=asked.id, unknown=found.reason)
            return
        yield MemoryForecast(id=asked.id, forecast=found)
        for around in sizes_around(spec):
            while True:
                yield None
                if not go_on():
                    return
                try:
                    self.of(around, card, stamp, go_on=lambda: go_on() and idle())
                    break
                except Dropped:
                    continue

    def of(
        self,
        spec: RunSpec,
        card: Card,
        stamp: Hashable,
        context_gib: float | None = None,
        go_on: GoOn = lambda: True,
    ) -> Forecast | Unknown:
        """The forecast, with CUDA's own share where it was measured. Raises UserError, and Dropped
        once `go_on` says no."""
        key = (stamp, card.capability, _settings(spec, _OF_TRAINING))
        until = time.monotonic() + _LIMIT_S

        def in_time() -> bool:
            if time.monotonic() > until:
                raise TookTooLong
            return go_on()

        try:
            found = self._found.get(key, lambda: self._simulated(spec, card, stamp, in_time))
        except TookTooLong:
            # Nor would it be the next time.
            why = Unknown(f"it was not found out within {_LIMIT_S:.0f} s")
            found = self._found.get(key, lambda: why)
        return found if isinstance(found, Unknown) else _with_context(found, context_gib)

    def between(
        self, spec: RunSpec, card: Card, stamp: Hashable, context_gib: float | None = None
    ) -> Forecast | None:
        """The forecast from sizes that were simulated for the same settings, where the spec's own
        was not and lies between them. Raises UserError."""
        key = (stamp, card.capability, _settings(spec, _OF_TRAINING))
        simulation = self._simulation(spec, card, stamp)
        if key in self._found or isinstance(simulation, Unknown):
            return None
        found = between(simulation, spec, card)
        return None if found is None else _with_context(found, context_gib)

    def _simulated(
        self, spec: RunSpec, card: Card, stamp: Hashable, go_on: GoOn
    ) -> Forecast | Unknown:
        simulation = self._simulation(spec, card, stamp)
        if isinstance(simulation, Unknown):
            return simulation
        return simulated(simulation, spec, card, go_on=go_on)

    def _simulation(self, spec: RunSpec, card: Card, stamp: Hashable) -> Simulation | Unknown:
        # Rows beside each other are padded, and a card may compute those otherwise.
        alone = spec.training.micro_batch == 1
        whatever = tuple(name for name in _OF_TRAINING if name not in _SIZES)
        key = (stamp, card.capability, alone, _settings(spec, whatever))
        with time_limit(_LIMIT_S):
            return self._simulations.get(key, lambda: prepared(spec, card))


def sizes_around(spec: RunSpec) -> Iterator[RunSpec]:
    """The run with other lengths and batches, so that most that may be asked next lies between:
    the most useful first."""
    rows, tokens = spec.training.micro_batch, spec.training.max_length
    # trl computes the loss of 4,096 tokens at a time, where its line has a bend.
    whole = max(1, 4096 // rows)
    points = [(rows, whole), (rows, 256), (rows, 16384), (rows, 1024)]
    some = max(2, rows)
    points += [(some, tokens), (16, tokens), (some, 256), (2, 2048), (16, 256), (16, 16384)]
    if rows > 1:
        points += [(1, tokens), (1, 256), (1, 4096), (1, 16384)]
    for number, size in dict.fromkeys(points):
        if (number, size) != (rows, tokens) and not (spec.task == "kto" and number < 2):
            training = {"micro_batch": number, "max_length": size}
            yield spec.model_copy(update={"training": spec.training.model_copy(update=training)})


def card_of(asked: ForecastMemory) -> Card:
    """The card that is asked about; raises UserError for one that is none."""
    if asked.total_gib is not None or not asked.card:
        return Card(asked.card, asked.total_gib or 0.0, asked.capability)
    try:
        return card_called(asked.card)
    except ValueError as error:
        raise UserError(f"{error}.") from error


def _with_context(found: Forecast, context_gib: float | None) -> Forecast:
    context = CONTEXT_GIB if context_gib is None else context_gib
    parts = found.parts.model_copy(update={"context": context})
    return found.model_copy(update={"parts": parts})


def _settings(spec: RunSpec, of_training: tuple[str, ...]) -> str:
    whole = spec.model_dump(mode="json", include={"model", "quantization", "task", "lora"})
    training = spec.training.model_dump(mode="json", include=set(of_training))
    # How many micro-batches a step has is no matter from the second on. A setting that is not
    # counted is told of.
    more = [spec.training.accumulation > 1, spec.training.neftune > 0]
    return json.dumps([whole, training, more], sort_keys=True)
