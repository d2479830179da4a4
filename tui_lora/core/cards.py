"""Cards by name, for whoever asks about one that is not there."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """`total_gib` is what NVML gives as the total, which is less than what is sold where the card
    corrects errors with its own memory; `capability` is CUDA's, None where only a size is known."""

    name: str
    total_gib: float
    capability: tuple[int, int] | None = None


CARDS = (
    Card("T4", 15.0, (7, 5)),
    Card("V100-16GB", 16.0, (7, 0)),
    Card("V100-32GB", 32.0, (7, 0)),
    Card("RTX 2080 Ti", 11.0, (7, 5)),
    Card("RTX 3060", 12.0, (8, 6)),
    Card("RTX 3080", 10.0, (8, 6)),
    Card("RTX 3090", 24.0, (8, 6)),
    Card("RTX 4060", 8.0, (8, 9)),
    Card("RTX 4060 Ti 16GB", 16.0, (8, 9)),
    Card("RTX 4070", 12.0, (8, 9)),
    Card("RTX 4080", 16.0, (8, 9)),
    Card("RTX 4090", 24.0, (8, 9)),
    Card("RTX 5070 Ti", 16.0, (12, 0)),
    Card("RTX 5080", 16.0, (12, 0)),
    Card("RTX 5090", 32.0, (12, 0)),
    Card("A10", 22.5, (8, 6)),
    Card("L4", 22.5, (8, 9)),
    Card("A30", 24.0, (8, 0)),
    Card("A40", 45.0, (8, 6)),
    Card("L40S", 45.0, (8, 9)),
    Card("A100-40GB", 40.0, (8, 0)),
    Card("A100-80GB", 80.0, (8, 0)),
    Card("H100", 80.0, (9, 0)),
    Card("H200", 140.0, (9, 0)),
)
"""Totals as NVML reports them, rounded to a quarter of a GiB; with ECC on where that is usual."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GiB|GB|G)?", re.IGNORECASE)
_LEAST_GIB, _MOST_GIB = 1.0, 2048.0
_MOST_BARE = 256.0
"""A larger number without a unit is a card's name: 1080, 1660."""
_LAPTOP = re.compile(r"laptop( gpu)?", re.IGNORECASE)


def card_called(text: str) -> Card:
    """A card by its name or its size (`16GiB`, `24`); raises ValueError with what is known.

    GB is taken for GiB, as cards are sold.
    """
    wanted = _plain(text)
    for card in CARDS:
        if wanted == _plain(card.name):
            return card
    if _LAPTOP.search(text):
        raise ValueError(
            f"{text.strip()!r:.60} may have less memory than the card of the same name; give its "
            "size, such as 8GiB"
        )
    size = _SIZE.fullmatch(text.strip())
    if size is not None and (size[2] or float(size[1]) <= _MOST_BARE):
        total = float(size[1])
        if not _LEAST_GIB <= total <= _MOST_GIB:
            raise ValueError(f"{text.strip()} is no size of a card; 1 to 2,048 GiB are")
        return Card(f"{total:g} GiB", total)
    near = [card for card in CARDS if len(wanted) > 1 and wanted in _plain(card.name)]
    if len(near) == 1:
        return near[0]
    names = ", ".join(card.name for card in near or CARDS)
    raise ValueError(f"{text.strip()!r:.40} names no card; give a size such as 16GiB, or: {names}")


def capability_of(name: str) -> tuple[int, int] | None:
    """CUDA's capability of a card by that name, a laptop's too; None where it is not known."""
    try:
        return card_called(_LAPTOP.sub("", name)).capability
    except ValueError:
        return None


def _plain(name: str) -> str:
    text = re.sub(r"nvidia|geforce|tesla|\W", "", name.lower())
    return text.removeprefix("rtx")
