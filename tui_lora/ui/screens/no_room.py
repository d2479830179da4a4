"""There is no room for a chat: the figures, and what else could be done, each by one key."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from tui_lora.core.chat_memory import ChatForecast
from tui_lora.core.text import number, one_line
from tui_lora.store.chat_room import ChatRoom, Way
from tui_lora.ui.ink import STRONG, dim, ink, join
from tui_lora.ui.widgets.line import Lines

PARTS = ("weights", "adapters", "cache", "workspace", "context")


class NoRoom(ModalScreen[str]):
    """Dismissed with `cpu`, `nf4` or `wait`, or with None. Nothing was loaded for it."""

    BINDINGS = [
        Binding("c", "take('cpu')", "CPU", id="no_room.cpu", tooltip="load it on the CPU"),
        Binding("f", "take('nf4')", "nf4", id="no_room.four_bits", tooltip="load it in 4 bits"),
        Binding("w", "take('wait')", "wait", id="no_room.wait", tooltip="load it when there is"),
        Binding("escape,q,n", "leave", "leave", id="no_room.leave", tooltip="load nothing"),
    ]

    def __init__(self, room: ChatRoom) -> None:
        super().__init__()
        self._room = room
        self._ways = {way.kind: way for way in room.ways}

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Lines(id="no-room")

    def on_mount(self) -> None:
        room, fit = self._room, self._room.fit
        rows: list[Content | str] = [
            ink(f"There is no room for {one_line(room.target.name, max_chars=40)}.", STRONG),
            ink(fit.sentence),
        ]
        if fit.forecast is not None:
            rows.append(dim(parts_words(fit.forecast)))
        rows.append("")
        if "cpu" in self._ways:
            rows.append(_way_row("c", "load it on the CPU", f"{_takes(self._ways['cpu'])}; slow"))
        if "nf4" in self._ways:
            other = f"{_takes(self._ways['nf4'])}; answers differ a bit"
            rows.append(_way_row("f", "load it in 4 bits (nf4)", other))
        if fit.beside:
            rows.append(_way_row("w", f"wait for {room.beside}", "then it is loaded by itself"))
        rows.append(_way_row("Esc", "load nothing", ""))
        self.query_one("#no-room", Lines).say(*rows)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action != "take":
            return True
        return (
            bool(self._room.fit.beside) if parameters == ("wait",) else parameters[0] in self._ways
        )

    def action_take(self, kind: str) -> None:
        self.dismiss(kind)

    def action_leave(self) -> None:
        self.dismiss(None)


def parts_words(forecast: ChatForecast) -> str:
    """`weights 3.66 · cache 0.50 …  GiB; a conversation of 4,096 tokens …`."""
    parts = [(name, getattr(forecast.parts, name)) for name in PARTS]
    told = " · ".join(f"{name} {number(gib)}" for name, gib in parts if gib)
    return f"{told} GiB; {'; '.join(forecast.reasons)}."


def _takes(way: Way) -> str:
    takes = way.fit.forecast.takes_gib if way.fit.forecast is not None else None
    return f"{number(takes)} of {number(way.fit.room_gib)} GiB"


def _way_row(key: str, words: str, detail: str) -> Content:
    return join((f"{key:>3}", STRONG), ink(f"  {words:<28}"), dim(detail))
