"""Was it memory that ran out, and what do the libraries say of it? Each has its own words."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

_WORDS = ("out of memory", "allocate memory", "alloc_failed")
_MACHINES_WORDS = ("allocate memory", "defaultcpuallocator")

_UNITS = {"bytes": 1 / 2**30, "KiB": 1 / 2**20, "MiB": 1 / 2**10, "GiB": 1.0, "TiB": 2.0**10}
_SIZE = r"([\d.]+) (bytes|[KMGT]iB)"
_ASKED = re.compile(rf"[Tt]ried to allocate {_SIZE}")
# Older versions wrote "capacty".
_CARD = re.compile(rf"total capaci?ty of {_SIZE} of which {_SIZE} is free")
_OURS = re.compile(rf"this process has {_SIZE} memory in use")
_OTHERS = re.compile(rf"Process (\d+) has {_SIZE} memory in use")
_ALLOCATED = re.compile(rf"{_SIZE} is allocated by PyTorch")
_UNUSED = re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on the card or on the machine.

    By its words: torch may be what could not be imported.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)


def is_the_machines(error: BaseException) -> bool:
    """Whether it was the machine's memory, though the run may compute on a card."""
    if isinstance(error, (MemoryError, OSError)):
        return True
    text = str(error).lower()
    return "cuda" not in text and any(words in text for words in _MACHINES_WORDS)


@dataclass(frozen=True)
class Told:
    """What an error says, in GiB at its very moment; None where it does not.

    `process` is all that this process held of the card, CUDA's context among it. `others` are the
    processes by the driver's ids; without `process` this one is among them, by an id that it does
    not know (in a container).
    """

    asked: float | None = None
    total: float | None = None
    free: float | None = None
    process: float | None = None
    allocated: float | None = None
    unused: float | None = None
    others: tuple[tuple[int, float], ...] = ()


def told_by(error: BaseException) -> Told:
    """The figures in torch's own words (c10/cuda/CUDACachingAllocator.cpp, alloc_cpu.cpp)."""
    text = str(error)
    card = _CARD.search(text)
    return Told(
        asked=_gib(_ASKED.search(text)),
        total=_size(card[1], card[2]) if card else None,
        free=_size(card[3], card[4]) if card else None,
        process=_gib(_OURS.search(text)),
        allocated=_gib(_ALLOCATED.search(text)),
        unused=_gib(_UNUSED.search(text)),
        others=tuple(
            (int(found[1]), _size(found[2], found[3])) for found in _OTHERS.finditer(text)
        ),
    )


def _gib(found: re.Match[str] | None) -> float | None:
    return _size(found[1], found[2]) if found else None


def _size(value: str, unit: str) -> float:
    return float(value) * _UNITS[unit]
