"""The Settings screen's keys; those that move in the form are the form's own."""

from __future__ import annotations

from textual.binding import Binding, BindingType


def _key(key: str, action: str, name: str, tip: str) -> Binding:
    return Binding(key, action, name, id=f"settings.{action}", tooltip=tip)


KEYS: list[BindingType] = [
    _key("s", "start", "start", "check it all, and start"),
    Binding(
        "t",
        "start(True)",
        "queue",
        id="settings.queue",
        tooltip="check it all, and start it when its card is free",
    ),
    _key("p", "presets", "presets", "begin from a preset"),
    _key("a", "advise", "advice", "what makes it fit the card, or what else fits"),
    _key("f", "fit_check", "fit check", "measure it: two steps on your longest rows"),
    _key("u", "undo", "undo", "undo the last change"),
    _key("d,backspace", "default", "default", "put back the default"),
    _key("m", "more", "more", "the settings that are seldom needed, or only the usual ones"),
    _key("o", "open_spec", "open", "open a run spec (YAML)"),
    _key("w", "write_spec", "write", "write it as a run spec (YAML)"),
    _key("v", "keep_preset", "keep", "keep these settings as a preset of yours"),
    _key("c", "compare", "compare", "lay it beside a preset, a session or a file"),
    _key("C", "card", "card", "which card to hold it against"),
    _key("x", "problems", "problems", "what is wrong"),
    _key("escape", "cancel", "cancel", "call the start off"),
]
