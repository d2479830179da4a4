"""A few things that are dear to make, kept for the next time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class LastUsed(Generic[Kept]):
    """The things that were used last, `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: OrderedDict[Hashable, Kept] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._things

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        if key not in self._things:
            made = make()
            while len(self._things) >= self._most:
                self._things.popitem(last=False)
            self._things[key] = made
        self._things.move_to_end(key)
        return self._things[key]
