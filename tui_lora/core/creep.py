"""A slow upward creep of a run's memory, told from noise, from a step and from a longer batch.

What is kept of a run is thinned out, so that it costs the same at any length. The slope is
Theil's and Sen's (the median of the slopes between all pairs; Sen, 1968) over the medians of eight
stretches of equal length, so that no single reading and no single rise makes one.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import combinations, pairwise

WARM_UP_STEPS = 20
_STRETCHES = 8
_EACH = 8
_MOST = 4 * _STRETCHES * _EACH
_LEAST_STEPS = 100
_LEAST_GIB = 1 / 64
_LARGEST_RISE = 0.4
_FALLS = 1
_EVERY = 10


@dataclass(frozen=True)
class Creep:
    """`gib` is held after the last step; it grows by so much a step, and has grown by `grown_gib`
    while it was looked at."""

    gib: float
    per_step_gib: float
    grown_gib: float

    def full_at(self, step: int, left_gib: float) -> int:
        """The step at which what is left at `step` is used up."""
        return step + max(0, int(left_gib / self.per_step_gib))


class CreepWatch:
    """Takes in what is held after each step, and says when it creeps towards the end of what there
    is: once, and again each time that it has grown by twice as much."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, float]] = []
        self._every = 1
        self._first: int | None = None
        self._since_asked = 0
        self._told_gib = 0.0

    def see(self, step: int, held_gib: float, *, left_gib: float, last_step: int) -> Creep | None:
        """What is held after `step`, how much more could be, and the run's last step. The creep
        where it is one that has to be told."""
        if self._first is None:
            self._first = step
        if step - self._first < WARM_UP_STEPS:
            return None
        if (step - self._first) % self._every == 0:
            self._seen.append((step, held_gib))
        if len(self._seen) >= _MOST:
            self._seen, self._every = self._seen[::2], 2 * self._every
        self._since_asked += 1
        if self._since_asked < _EVERY:
            return None
        self._since_asked = 0
        found = creep(self._seen)
        if found is None or found.full_at(step, left_gib) >= last_step:
            return None
        if self._told_gib and found.grown_gib < 2 * self._told_gib:
            return None
        self._told_gib = found.grown_gib
        return found


def creep(seen: list[tuple[int, float]]) -> Creep | None:
    """The creep in the later three quarters of (step, GiB held after it); None where it is none.

    It is one when it goes on over all of the stretches but one, when none of them makes up most of
    it, and when it is far more than what is held goes up and down by.
    """
    window = seen[len(seen) // 4 :]
    size = len(window) // _STRETCHES
    if size < _EACH or window[-1][0] - window[0][0] < _LEAST_STEPS:
        return None
    window = window[-size * _STRETCHES :]
    stretches = [window[i : i + size] for i in range(0, len(window), size)]
    middles = [
        (statistics.median(s for s, _ in part), statistics.median(g for _, g in part))
        for part in stretches
    ]
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(middles, 2))
    rises = [b[1] - a[1] for a, b in pairwise(middles)]
    grown = middles[-1][1] - middles[0][1]
    if slope <= 0 or sum(rise <= 0 for rise in rises) > _FALLS:
        return None
    if grown < _LEAST_GIB or max(rises) > _LARGEST_RISE * grown:
        return None
    line = statistics.median(g - slope * s for s, g in window)
    noise = statistics.median(abs(g - slope * s - line) for s, g in window)
    if grown < 3 * noise:
        return None
    return Creep(window[-1][1], slope, grown)
