"""The Chat screen's keys: single ones beside the composer, control keys inside it."""

from __future__ import annotations

from textual.binding import Binding, BindingType

TYPING = "typing"
"""What an action is told that came by a control key; it is offered only while one writes."""


def _key(key: str, action: str, name: str, tip: str, *, shown: bool = True) -> Binding:
    return Binding(key, action, name, shown, id=f"chat.{action}", tooltip=tip)


def _both(key: str, action: str, name: str, tip: str) -> list[Binding]:
    inside = Binding(
        f"ctrl+{key}", f"{action}('{TYPING}')", name, id=f"chat.{action}_typing", tooltip=tip
    )
    return [_key(key, action, name, tip), inside]


KEYS: list[BindingType] = [
    _key("escape", "stop", "stop", "stop the answer at once"),
    _key("escape", "leave", "back", "out of writing, so that single keys hold; back"),
    *_both("r", "again", "load again", "start the chat worker again"),
    _key("enter,i", "write", "write", "write a message"),
    _key("tab", "switch", "switch", "who answers next"),
    Binding("b,ctrl+b", "switch", "", False, id="chat.switch_b", tooltip="who answers next"),
    *_both("s", "together", "both", "everybody answers it, side by side"),
    _key("h", "held_out", "held-out", "the next held-out question"),
    *_both("n", "new", "new", "a new conversation"),
    *_both("g", "sampling", "sampling", "temperature, tokens, seed, system prompt"),
    *_both("t", "targets", "who", "talk to another adapter or model"),
    _key("p", "path", "by path", "an adapter or model by its path"),
    Binding("pageup", "page(-1)", "", False, id="chat.page_up", tooltip="a page up"),
    Binding("pagedown", "page(1)", "", False, id="chat.page_down", tooltip="a page down"),
]
