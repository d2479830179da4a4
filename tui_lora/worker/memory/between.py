"""What a run takes at a size that was not simulated, storage by storage from sizes that were.

The same storages come and go in the same order whatever the rows and tokens are; how large each of
them is follows one of a few laws, or lies on a line in pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tui_lora.worker.memory.allocator import Event
from tui_lora.worker.memory.deeper import Trace

Point = tuple[int, int]
"""Rows and tokens of a micro-batch."""

Sizes = npt.NDArray[np.float64]
"""Bytes by event; whole numbers below 2**53."""

_LAWS: tuple[Callable[[int, int], int], ...] = (
    lambda rows, tokens: 1,
    lambda rows, tokens: tokens,
    lambda rows, tokens: rows,
    lambda rows, tokens: rows * tokens,
    # Each token but the last is held against the one behind it.
    lambda rows, tokens: rows * (tokens - 1),
    # Masks, and scores where no fused kernel computes attention.
    lambda rows, tokens: tokens**2,
    lambda rows, tokens: rows * tokens**2,
    # The same of rows that are packed into one sequence.
    lambda rows, tokens: rows * tokens - 1,
    lambda rows, tokens: (rows * tokens) ** 2,
)
"""What a storage's size may be a multiple of."""


@dataclass
class _Alike:
    """Runs that did the same, so that their storages can be held beside each other."""

    like: Trace
    points: dict[Point, Sizes] = field(default_factory=dict)

    def does_the_same(self, trace: Trace) -> bool:
        like = self.like
        return (
            len(like.events) == len(trace.events)
            and like.phases == trace.phases
            and all(
                a == b and (a <= 0 or kind == other)
                for (a, _), (b, _), kind, other in zip(
                    like.events, trace.events, like.kinds, trace.kinds, strict=True
                )
            )
        )

    def spans(self, rows: int, tokens: int) -> bool:
        """Whether the size lies among those that are known, not beyond them."""
        every_rows = [known for known, _ in self.points]
        every_tokens = [known for _, known in self.points]
        return min(every_rows) <= rows <= max(every_rows) and min(every_tokens) <= tokens <= max(
            every_tokens
        )

    def sizes_at(self, rows: int, tokens: int) -> Sizes | None:
        """None where what is known would allow several answers."""
        low = np.full(len(self.like.events), np.inf)
        high = np.full(len(self.like.events), -np.inf)
        for law in _LAWS:
            share: Sizes | None = None
            holds = np.ones(len(low), dtype=bool)
            for point, sizes in self.points.items():
                here = sizes / law(*point)
                if share is None:
                    share = here
                # Equal quotients are rounded alike.
                holds &= here == share
            assert share is not None
            size = np.round(share * law(rows, tokens))
            low = np.where(holds, np.minimum(low, size), low)
            high = np.where(holds, np.maximum(high, size), high)
        lawless = high < low
        if bool((high[~lawless] > low[~lawless]).any()):
            return None
        if bool(lawless.any()):
            between = self._on_a_line(rows * (tokens - 1), lawless)
            if between is None:
                return None
            low[lawless] = between
        return low

    def _on_a_line(self, predicted: int, which: npt.NDArray[np.bool_]) -> Sizes | None:
        """Between the two sizes nearest by the tokens that are predicted, on either side."""
        known = sorted((rows * (tokens - 1), (rows, tokens)) for rows, tokens in self.points)
        below = [one for one in known if one[0] <= predicted]
        above = [one for one in known if one[0] >= predicted]
        if not below or not above:
            return None
        (least, under), (most, over) = below[-1], above[0]
        start, end = self.points[under][which], self.points[over][which]
        share = (predicted - least) / (most - least) if most > least else 0.0
        found: Sizes = np.ceil(start + share * (end - start))
        return found


class Between:
    """Simulated runs of one recipe by their size, and what lies between them."""

    def __init__(self) -> None:
        self._kinds: list[_Alike] = []

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(sorted(point for alike in self._kinds for point in alike.points))

    def add(self, rows: int, tokens: int, trace: Trace) -> None:
        trace = replace(trace, events=_in_order(trace))
        alike = next((alike for alike in self._kinds if alike.does_the_same(trace)), None)
        if alike is None:
            alike = _Alike(trace)
            self._kinds.append(alike)
        alike.points[rows, tokens] = np.array([size for _, size in trace.events], dtype=np.float64)

    def at(self, rows: int, tokens: int) -> Trace | None:
        """The run at this size; None where it does not lie among those that are known."""
        for alike in self._kinds:
            if len(alike.points) < 2 or not alike.spans(rows, tokens):
                continue
            sizes = alike.sizes_at(rows, tokens)
            if sizes is None:
                continue
            like = alike.like
            whole = sizes.astype(np.int64).tolist()
            events = [(number, size) for (number, _), size in zip(like.events, whole, strict=True)]
            return Trace(events, like.kinds, like.phases, like.room)
        return None


def _in_order(trace: Trace) -> list[Event]:
    """Its events; what is freed together comes in any order, and here by its number."""
    ordered: list[Event] = []
    beside = zip(trace.events, trace.phases, strict=True)
    for (_, freed), run in groupby(beside, lambda one: (one[1], one[0][0] < 0)):
        events = [event for event, _ in run]
        ordered += sorted(events) if freed else events
    return ordered
