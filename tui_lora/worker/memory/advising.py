"""Answers questions for advice about memory, a simulation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tui_lora.core.advice import Advice
from tui_lora.core.errors import UserError
from tui_lora.core.inspect import AdviseMemory, MemoryAdvised
from tui_lora.core.memory import CONTEXT_GIB
from tui_lora.core.spec import RunSpec
from tui_lora.worker.memory.advice import advised
from tui_lora.worker.memory.forecast import Unknown
from tui_lora.worker.memory.forecasts import Forecasts, card_of
from tui_lora.worker.memory.storages import Dropped
from tui_lora.worker.stamps import stamp_of


def advice_for(
    asked: AdviseMemory,
    spec: RunSpec,
    forecasts: Forecasts,
    go_on: Callable[[], bool],
) -> Iterator[MemoryAdvised | None]:
    """What was found so far, and at last with `done`; None between simulations. Ends without a
    word when `go_on` says no. Raises UserError."""
    stamp = stamp_of(spec)
    card = card_of(asked)
    if card.total_gib <= 0:
        raise UserError("what fits a card cannot be told without the card's size.")
    context_gib = CONTEXT_GIB if asked.context_gib is None else asked.context_gib
    whole: Advice | None = None
    steps = advised(
        spec,
        card,
        lambda wanted: forecasts.of(wanted, card, stamp, context_gib, go_on),
        others_gib=asked.others_gib,
        context_gib=context_gib,
        lengths=asked.lengths,
        go_on=go_on,
        between=lambda wanted: forecasts.between(wanted, card, stamp, context_gib),
    )
    try:
        for found in steps:
            if isinstance(found, Unknown):
                yield MemoryAdvised(id=asked.id, done=True, unknown=found.reason)
                return
            whole = found or whole
            yield None if found is None else MemoryAdvised(id=asked.id, done=False, advice=found)
    except Dropped:
        # In the middle of a simulation.
        return
    if go_on():
        yield MemoryAdvised(id=asked.id, done=True, advice=whole)
