"""The queue of a sessions root: which sessions wait for a card, in which order.

A fold over `queue.jsonl`, to which every process appends and which nobody rewrites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tui_lora.core.wire import Message, Wire


class QueueLine(Message):
    """`id` is a UUID; `t` unix seconds; `name` the session's."""

    id: str
    t: float
    name: str


class Queued(QueueLine):
    """The session waits for its turn, behind those that wait already. `card` is the one that it
    wants, by `card_of`; once it waits it is not put in twice."""

    type: ClassVar[str] = "queued"
    card: str


class Moved(QueueLine):
    """It waits right before another one now; behind all others where `before` is None, and where
    that one does not wait."""

    type: ClassVar[str] = "moved"
    before: str | None = None


class Removed(QueueLine):
    """It does not wait any more, or has started; that it could not be started is forgotten."""

    type: ClassVar[str] = "removed"


class Taken(QueueLine):
    """Somebody starts it now. `entry` is the id of its Queued line: the first who says so of an
    entry has it, and a later one looks for another."""

    type: ClassVar[str] = "taken"
    entry: str


class Refused(QueueLine):
    """It was its turn and it could not be started; `why` is for people. It waits no more."""

    type: ClassVar[str] = "refused"
    why: str


QUEUE: Wire[QueueLine] = Wire(Queued, Moved, Removed, Taken, Refused)


@dataclass(frozen=True)
class Entry:
    """A session that waits, since when (unix seconds), and for which card."""

    id: str
    name: str
    card: str
    since: float


@dataclass(frozen=True)
class Queue:
    """`waiting` in the order of their turns, those of every card in one; `refused` are those that
    could not be started, with why; `taken_by` whose line took each entry; `starting` are those of
    whom nobody said yet that they have started, and since when (unix seconds)."""

    waiting: tuple[Entry, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    taken_by: Mapping[str, str] = field(default_factory=dict)
    starting: Mapping[str, float] = field(default_factory=dict)

    def entry(self, name: str) -> Entry | None:
        """How a session waits; None where it does not."""
        return next((entry for entry in self.waiting if entry.name == name), None)

    def line(self, card: str) -> tuple[Entry, ...]:
        """Those that wait for a card, in the order of their turns."""
        return tuple(entry for entry in self.waiting if entry.card == card)

    def cards(self) -> tuple[str, ...]:
        """The cards that somebody waits for."""
        return tuple(sorted({entry.card for entry in self.waiting}))

    def next_for(self, card: str) -> Entry | None:
        """Whose turn it is on a card."""
        return next(iter(self.line(card)), None)

    def place(self, name: str) -> int | None:
        """At which place of its card's line a session waits, from 1; None where it does not."""
        entry = self.entry(name)
        return self.line(entry.card).index(entry) + 1 if entry is not None else None


@dataclass(frozen=True)
class Turn:
    """How a session waits: at which place of its card's line, from 1. `stalled`: nothing runs on
    the card, and nobody is about to start the first."""

    place: int
    card: str
    stalled: bool = False


def fold(lines: Iterable[bytes]) -> Queue:
    """The queue that these lines add up to; what cannot be read counts for nothing."""
    waiting: list[Entry] = []
    refused: dict[str, str] = {}
    taken_by: dict[str, str] = {}
    starting: dict[str, float] = {}
    for text in lines:
        line = QUEUE.decode(text).message
        if line is None:
            continue
        here = next((entry for entry in waiting if entry.name == line.name), None)
        if not isinstance(line, Moved):
            starting.pop(line.name, None)
        match line:
            case Queued():
                refused.pop(line.name, None)
                if here is None:
                    waiting.append(Entry(line.id, line.name, line.card, line.t))
            case Moved() if here is not None and line.before != line.name:
                waiting.remove(here)
                names = [entry.name for entry in waiting]
                at = names.index(line.before) if line.before in names else len(waiting)
                waiting.insert(at, here)
            case Removed():
                refused.pop(line.name, None)
                waiting = [entry for entry in waiting if entry.name != line.name]
            case Taken():
                taken_by.setdefault(line.entry, line.id)
                starting[line.name] = line.t
                waiting = [entry for entry in waiting if entry.id != line.entry]
            case Refused():
                refused[line.name] = line.why
                waiting = [entry for entry in waiting if entry.name != line.name]
            case _:
                pass
    return Queue(tuple(waiting), refused, taken_by, starting)


CPU = "cpu"


def card_of(devices: str, visible: str | None = None) -> str:
    """Which card `hardware.devices` means: `cpu`, or an index or UUID. `visible` is
    CUDA_VISIBLE_DEVICES, the first of which `auto` takes; where it is set and empty there is no
    card to be seen."""
    if devices != "auto":
        return devices
    if visible is None:
        return "0"
    return visible.split(",")[0].strip() or CPU


def card_words(card: str) -> str:
    """`the CPU`, `card 0`."""
    return "the CPU" if card == CPU else f"card {card}"


def place_words(place: int) -> str:
    """1st, 2nd, 3rd, 11th …"""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{'th' if place % 100 in (11, 12, 13) else ending}"
