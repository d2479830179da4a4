"""The top line of every screen: where you are, and the card (or the machine)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import events
from textual.content import Content

from tui_lora.core.text import UNKNOWN, shorten_middle
from tui_lora.ui.ink import ACCENT, BRIGHT, TIGHT, WRONG, bar, between, dim, ink, join
from tui_lora.ui.widgets.line import Line

if TYPE_CHECKING:
    from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
    from tui_lora.ui.state import RunOnCard

LONG_FROM = 104
NAME_CELLS = 22
TIGHT_SHARE = 0.05
HOT_CELSIUS = 85
BUSY_SHARE = 0.9


class TopLine(Line):
    """Draws the page's title, the session's name and what the sensors say."""

    def __init__(self, title: str) -> None:
        super().__init__(id="top")
        self._title = title
        self._name = ""
        self._state = Content("")
        self._reading: SensorReading | None = None
        self._run: RunOnCard | None = None

    def show_name(self, name: str) -> None:
        self._name = name
        self._draw()

    def show_state(self, words: Content) -> None:
        """What the session does, where that is not what one expects; else nothing."""
        self._state = words
        self._draw()

    def show_sensors(self, reading: SensorReading | None) -> None:
        self._reading = reading
        self._draw()

    def show_run(self, run: RunOnCard | None) -> None:
        """Which card the run uses and how far its memory will rise; None while none goes on."""
        self._run = run
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.content_size.width
        if width < 10:
            return
        state = sensors(self._reading, self._run, long=width >= LONG_FROM)
        room = width - state.cell_length - len(self._title) - 5
        where = ink(self._title, f"bold {ACCENT}")
        if self._name and room >= 8:
            where = join(where, dim("  "), ink(shorten_middle(self._name, room)))
            if self._state.plain and len(self._name) + self._state.cell_length + 2 <= room:
                where = join(where, "  ", self._state)
        self.say(between(where, state, width))


def sensors(reading: SensorReading | None, run: RunOnCard | None = None, *, long: bool) -> Content:
    """What the sensors say, in a long or a short form: of the run's card, else of the first."""
    if reading is None:
        return Content("")
    if reading.nvml_problem is not None or not reading.cards:
        return _machine(reading.machine, long=long)
    card = reading.card_of(run.devices if run is not None else "auto") or reading.cards[0]
    return _card(card, len(reading.cards), run, long=long)


def _card(card: CardReading, cards: int, run: RunOnCard | None, *, long: bool) -> Content:
    total, used = card.total_gib, card.used_gib
    name = card.name.removeprefix("NVIDIA ").removeprefix("GeForce ")
    which = f"#{card.number} of {cards} " if cards > 1 else ""
    pieces = [join(dim(which), ink(shorten_middle(name, NAME_CELLS)))] if long else []
    if card.silent_since is not None:
        since = time.strftime("%H:%M", time.localtime(card.silent_since))
        pieces.append(
            ink(f"! {'' if long else which}the card does not answer since {since}", WRONG)
        )
    elif total is None or used is None:
        pieces.append(dim(f"{'' if long else which}memory unknown"))
    else:
        pieces.append(_memory(card, total, used, which, run, long=long))
    pieces.append(_figure(card.load_percent, "%", 3))
    heat = card.heat_celsius
    pieces.append(_figure(heat, "°C", 2, WRONG if heat and heat >= HOT_CELSIUS else BRIGHT))
    if long:
        pieces.append(_figure(card.power_watts, " W", 3))
    return Content("  ").join(pieces)


def _memory(
    card: CardReading, total: float, used: float, which: str, run: RunOnCard | None, *, long: bool
) -> Content:
    free = card.free_gib if card.free_gib is not None else total - used
    headroom = free - max(0.0, run.growth_gib if run is not None else 0.0)
    tight = headroom < TIGHT_SHARE * total
    style = TIGHT if tight else ACCENT
    mark = (" ▲ tight" if long else "▲") if tight else ""
    peak = run.peak_at_gib if run is not None else None
    drawn = _bar(used / total, None if peak is None else peak / total, 20 if long else 10, style)
    if not long:
        return join(
            dim(f"{which}{total:.0f}G{' shared' if card.shared else ''} "),
            drawn,
            ink(f" {used:.1f}"),
            ink(f" {headroom:+.1f}{mark}", style if tight else BRIGHT),
        )
    return join(
        drawn,
        ink(f" {used:.1f}"),
        dim(f" of {total:.0f} GiB{', the machine’s' if card.shared else ''}"),
        dim("   headroom "),
        ink(f"{headroom:.1f}", style if tight else BRIGHT),
        (mark, TIGHT),
    )


def _bar(share: float, peak: float | None, width: int, style: str) -> Content:
    """What is used, with a mark where the peak was predicted; beyond the end it points on."""
    drawn = bar(share, width, style)
    if peak is None:
        return drawn
    if peak > 1:
        return join(drawn[: width - 1], ("▶", WRONG))
    at = min(width - 1, int(peak * width))
    return join(drawn[:at], ("┃", BRIGHT), drawn[at + 1 :])


def _machine(machine: MachineReading, *, long: bool) -> Content:
    total, used = machine.memory_total_gib, machine.memory_used_gib
    pieces = [dim("no GPU")]
    if total is not None and used is not None:
        full = used / total
        style = TIGHT if full > BUSY_SHARE else ACCENT
        pieces.append(
            join(
                dim("memory " if long else "mem "),
                bar(full, 20 if long else 10, style),
                ink(f" {used:.1f}"),
                dim(f" of {total:.1f} GiB" if long else f"/{total:.0f}G"),
            )
        )
    cores = f" of {machine.cores} cores" if long else ""
    pieces.append(join(dim("cpu "), _figure(machine.cpu_percent, "%", 3), dim(cores)))
    return Content("  ").join(pieces)


def _figure(value: float | None, unit: str, width: int, style: str = BRIGHT) -> Content:
    shown = UNKNOWN if value is None else f"{value:.0f}"
    return join(ink(shown.rjust(width), style), dim(unit))
