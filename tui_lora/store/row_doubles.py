"""Rows that occur twice: told by a hash of what they become, so that none is held."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from tui_lora.store.dataset import held_out_rows

MOST_ROWS = 2_750_000
"""Different rows remembered, in about 400 MB; the next one would double the table. Beyond that
nobody looks any more."""


class Stood(NamedTuple):
    """Where a row stood: its file by number, its line and its number in the dataset."""

    file: int
    line: int
    row: int


class Doubles:
    """Remembers usable rows, in order, by the hash of their example.

    `gave_up` once there were too many to remember; from then on nothing is a double.
    """

    def __init__(self, most: int = MOST_ROWS) -> None:
        self.gave_up = False
        self.duplicates = 0
        self._most = most
        self._first: dict[int, int] = {}
        self._keys, self._places = array("q"), array("Q")

    def add(self, key: int, stood: Stood) -> Stood | None:
        """Remember a row; where the same row stood before, if it did."""
        if self.gave_up:
            return None
        at = len(self._keys)
        before = self._first.setdefault(key, at)
        self._keys.append(key)
        self._places.extend(stood)
        if before != at:
            self.duplicates += 1
            return self._stood(before)
        if at - self.duplicates >= self._most:
            self.gave_up = True
            self._first, self._keys, self._places = {}, array("q"), array("Q")
        return None

    def in_share(self, rows: int, share: float, seed: int) -> Iterator[Stood]:
        """Of the first `rows`, of which a share is drawn by seed, those that are trained on and
        are the same as one that was drawn."""
        self._first = {}
        drawn = bytearray(rows)
        for at in held_out_rows(rows, share, seed):
            drawn[at] = 1
        held_out = {self._keys[at] for at in range(rows) if drawn[at]}
        for at, key in enumerate(self._keys):
            if (at >= rows or not drawn[at]) and key in held_out:
                yield self._stood(at)

    def _stood(self, at: int) -> Stood:
        return Stood(*self._places[3 * at : 3 * at + 3])
