"""The bottom line: the keys of this screen at the left, those of every screen at the right."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.binding import ActiveBinding, Binding
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input

from tui_lora.ui.ink import dim, fitting, ink, join
from tui_lora.ui.keymap import number_keys
from tui_lora.ui.widgets.line import Line

KEY_NAMES = {
    "enter": "Enter",
    "escape": "Esc",
    "space": "Space",
    "slash": "/",
    "question_mark": "?",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "tab": "Tab",
    "home": "Home",
    "end": "End",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "asterisk": "*",
    "equals_sign": "=",
}


def key_name(keys: str) -> str:
    """How the first of a binding's keys is written: `ctrl+p` as ^p."""
    key = keys.split(",")[0].strip()
    if key.startswith("ctrl+"):
        return "^" + KEY_NAMES.get(key[5:], key[5:])
    return KEY_NAMES.get(key, key)


def usable(screen: Screen[Any]) -> list[ActiveBinding]:
    """Our bindings that do something on `screen` now, one an id, under its shortest key."""
    found: dict[str, ActiveBinding] = {}
    for active in screen.active_bindings.values():
        id = active.binding.id
        if not id or not active.enabled:
            continue
        known = found.get(id)
        if known is None or len(key_name(active.binding.key)) < len(key_name(known.binding.key)):
            found[id] = active
    return list(found.values())


class KeysLine(Line):
    """Draws the bindings that are shown and can be used now; asks the screen, keeps no list.

    Single keys are text while one types, so that the keys of every screen are others then.
    """

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._leaving = "leave"

    def show_leaving(self, words: str) -> None:
        """What `q` does now: leave, or leave while a run goes on."""
        if words != self._leaving:
            self._leaving = words
            self._draw()

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_updated)

    def _bindings_updated(self, screen: Screen[Any]) -> None:
        if self.is_attached:
            self.call_after_refresh(self._draw)

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.content_size.width
        if width < 10 or not self.is_attached:
            return
        typing = isinstance(self.screen.focused, Input)
        help = _key("^p", "actions") if typing else _key("?", "help")
        screens = _key("^o" if typing else number_keys(), "screens")
        leave = "^q" if typing else "q"
        first = screens if typing else help
        here = [_key(key_name(b.key), b.description) for b in self._shown()]
        wanted = Content("   ").join(here).cell_length
        room = 0
        # What every screen has gives way to what this one has.
        for pieces in (
            [screens, help, _key(leave, self._leaving)],
            [first, _key(leave, self._leaving)],
            [first, _key(leave, "leave")],
        ):
            everywhere = Content("   ").join(pieces)
            room = width - everywhere.cell_length - 3
            if wanted <= room:
                break
        start = fitting(here, room)
        gap = max(0, width - start.cell_length - everywhere.cell_length)
        self.say(join(start, " " * gap, everywhere))

    def _shown(self) -> list[Binding]:
        found = usable(self.screen)
        return [a.binding for a in found if a.binding.show and a.node is not self.app]


def _key(key: str, words: str) -> Content:
    return join(ink(key, "bold $foreground"), dim(f" {words}"))
