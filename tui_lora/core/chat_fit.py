"""Whether a chat fits where it would be loaded, with what trains there left its due."""

from __future__ import annotations

from dataclasses import dataclass

from tui_lora.core.chat_memory import ChatForecast, Place
from tui_lora.core.memory import CONTEXT_GIB, Verdict, verdict
from tui_lora.core.text import UNKNOWN, number, one_line
from tui_lora.core.view import RunView

_SPARE = 1.25
"""A chat beside a training may take a quarter more than was counted, where that is free."""


@dataclass(frozen=True)
class Beside:
    """A training in the same place. `still_gib`: what it may take on top of what it holds now; None
    where that is not known, and `why` says so."""

    name: str
    still_gib: float | None
    why: str = ""


@dataclass(frozen=True)
class ChatFit:
    """A chat held against a place. `free_gib` is free there now, None where nobody tells, and
    `why` says so; `gained_gib` becomes free when the model is put away that is there now."""

    place: Place
    forecast: ChatForecast | None
    free_gib: float | None
    total_gib: float | None
    beside: tuple[Beside, ...] = ()
    gained_gib: float = 0.0
    why: str = ""

    @property
    def room_gib(self) -> float | None:
        """What the chat may have: free, less what trainings may still need. None: not known."""
        if self.free_gib is None or any(one.still_gib is None for one in self.beside):
            return None
        return self.free_gib + self.gained_gib - self.still_gib

    @property
    def still_gib(self) -> float:
        return sum(one.still_gib or 0.0 for one in self.beside)

    @property
    def verdict(self) -> Verdict:
        """Does not fit too where it is too large for what is free, whatever a training may need."""
        takes = self.forecast.takes_gib if self.forecast is not None else None
        if takes is None or self.free_gib is None:
            return "unknown"
        left = self.free_gib + self.gained_gib - self.still_gib - takes
        if self.room_gib is None and left >= 0:
            return "unknown"
        return verdict(left, self.total_gib)

    @property
    def most_gib(self) -> float | None:
        """What the chat's tensors are held to beside a training on the card; None: nothing. Never
        more than there is room for, so that what was forced in runs out of memory by itself."""
        room = self.room_gib
        if self.place == "cpu" or not self.beside or self.forecast is None or room is None:
            return None
        allowed = min(room, _SPARE * self.forecast.takes_gib)
        return max(0.0, allowed - self.forecast.parts.context)

    @property
    def held_gib(self) -> float:
        """What certainly stands there once it is loaded, of what was counted."""
        if self.forecast is None:
            return 0.0
        parts = self.forecast.parts
        return parts.weights + parts.adapters + parts.context

    @property
    def sentence(self) -> str:
        """`chat would take 4.10 GiB; the card has 3.20 free, of which …`, or what is not known."""
        where = "the card" if self.place == "card" else "the machine"
        takes = number(self.forecast.takes_gib) if self.forecast is not None else UNKNOWN
        free = self.free_gib + self.gained_gib if self.free_gib is not None else None
        told = f"chat would take {takes} GiB; {where} has {number(free)} free"
        needs = [
            f"{one_line(one.name)} may still need {number(one.still_gib)}"
            f"{' at its peak' if one.still_gib is not None else ''}"
            for one in self.beside
            if one.still_gib is None or one.still_gib > 0
        ]
        if needs:
            told += f", of which {' and '.join(needs)}"
        whys = [self.why, *(one.why for one in self.beside)]
        return ". ".join([told, *(why for why in whys if why)]) + "."


def may_still_take(name: str, view: RunView, place: Place) -> Beside:
    """What a run that lives may take on top of what it holds, by its own events.

    Its peak is what was predicted of it or what it reached, whichever is more; what it holds is
    what it told last.
    """
    step = view.last_step
    if place == "cpu":
        now = step.process_gib if step is not None else None
        if now is None or view.peak_process_gib is None:
            return Beside(name, None, f"{one_line(name)} has not said yet what it takes")
        return Beside(name, max(0.0, view.peak_process_gib - now))
    context = _context(view)
    peaks = []
    if view.forecast is not None and view.forecast.forecast is not None:
        peaks.append(view.forecast.forecast.peak_process_gib)
    if view.peak_reserved_gib is not None:
        peaks.append(view.peak_reserved_gib + context)
    if not peaks:
        return Beside(
            name, None, f"what {one_line(name)} will take was not predicted, and no step is done"
        )
    return Beside(name, max(0.0, max(peaks) - _holds(view, context)))


def _holds(view: RunView, context: float) -> float:
    """GiB that the attempt which lives has on the card by what it told; 0 where it told nothing,
    which leaves it more than it needs and never less."""
    step, loaded = view.last_step, view.loaded
    if view.verdict is not None:
        # The next attempt has begun, and has not said so yet.
        return 0.0
    if step is not None and step.reserved_gib is not None:
        return step.reserved_gib + context
    here = loaded is not None and loaded.t >= (view.attempt_started_t or 0.0)
    if loaded is not None and here and loaded.memory_bytes and loaded.device != "cpu":
        return loaded.memory_bytes / 2**30 + context
    return 0.0


def _context(view: RunView) -> float:
    if view.measured is not None and view.measured.context_gib is not None:
        return view.measured.context_gib
    found = view.forecast.forecast if view.forecast is not None else None
    return found.parts.context if found is not None else CONTEXT_GIB
