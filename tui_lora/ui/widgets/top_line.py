"""The top line of every screen: where you are, and the card (or the machine)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.content import Content

from tui_lora.core.text import UNKNOWN, shorten_middle
from tui_lora.ui.ink import ACCENT, BRIGHT, TIGHT, WRONG, bar, between, dim, ink, join
from tui_lora.ui.widgets.line import Line

if TYPE_CHECKING:
    from tui_lora.core.sensors import CardReading, MachineReading, SensorReading

LONG_FROM = 104
TIGHT_SHARE = 0.05
HOT_CELSIUS = 85
BUSY_SHARE = 0.9


class TopLine(Line):
    """Draws the page's title, the session's name and what the sensors say."""

    def __init__(self, title: str) -> None:
        super().__init__(id="top")
        self._title = title
        self._name = ""
        self._reading: SensorReading | None = None
        self._growth_gib = 0.0

    def show_name(self, name: str) -> None:
        self._name = name
        self._draw()

    def show_sensors(self, reading: SensorReading | None) -> None:
        self._reading = reading
        self._draw()

    def show_growth(self, growth_gib: float) -> None:
        """How far the run's memory may still rise to the peak that it has already had."""
        self._growth_gib = growth_gib
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.content_size.width
        if width < 10:
            return
        state = sensors(self._reading, self._growth_gib, long=width >= LONG_FROM)
        room = width - state.cell_length - len(self._title) - 5
        where = ink(self._title, f"bold {ACCENT}")
        if self._name and room >= 8:
            where = join(where, dim("  "), ink(shorten_middle(self._name, room)))
        self.say(between(where, state, width))


def sensors(reading: SensorReading | None, growth_gib: float = 0.0, *, long: bool) -> Content:
    """What the sensors say, in a long or a short form."""
    if reading is None:
        return Content("")
    if reading.nvml_problem is not None or not reading.cards:
        return _machine(reading.machine, long=long)
    return _card(reading.cards[0], len(reading.cards), growth_gib, long=long)


def _card(card: CardReading, cards: int, growth_gib: float, *, long: bool) -> Content:
    total, used = card.total_gib, card.used_gib
    name = card.name.removeprefix("NVIDIA ").removeprefix("GeForce ")
    more = f" ×{cards}" if cards > 1 else ""
    pieces = [ink(f"{name}{more}")] if long else []
    if total is None or used is None:
        pieces.append(dim("memory unknown"))
    else:
        free = card.free_gib if card.free_gib is not None else total - used
        headroom = free - max(0.0, growth_gib)
        tight = headroom < TIGHT_SHARE * total
        style = TIGHT if tight else ACCENT
        mark = (" ▲ tight" if long else "▲") if tight else ""
        if long:
            pieces.append(
                join(
                    bar(used / total, 20, style),
                    ink(f" {used:.1f}"),
                    dim(f" of {total:.0f} GiB"),
                    dim("   headroom "),
                    ink(f"{headroom:.1f}", style if tight else BRIGHT),
                    (mark, TIGHT),
                )
            )
        else:
            pieces.append(
                join(
                    dim(f"{total:.0f}G{more} "),
                    bar(used / total, 10, style),
                    ink(f" {used:.1f}"),
                    ink(f" {headroom:+.1f}{mark}", style if tight else BRIGHT),
                )
            )
    pieces.append(_figure(card.load_percent, "%", 3))
    heat = card.heat_celsius
    pieces.append(_figure(heat, "°C", 2, WRONG if heat and heat >= HOT_CELSIUS else BRIGHT))
    if long:
        pieces.append(_figure(card.power_watts, " W", 3))
    return Content("  ").join(pieces)


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
