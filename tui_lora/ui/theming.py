"""Our themes as textual's: a dozen roles become its variables."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import App
from textual.theme import BUILTIN_THEMES, Theme

from tui_lora.core.themes import DARK, ThemeSpec
from tui_lora.ui.textual_mends import mend_textual

DEFAULTS = dict(DARK)
"""A variable that a .tcss names and no theme defines would keep the app from starting."""


def offer(app: App[None], specs: Mapping[str, ThemeSpec], chosen: str) -> None:
    """Give the app these themes by their names, and none of textual's; use the one `chosen`."""
    mend_textual(app)
    for spec in specs.values():
        app.register_theme(textual_theme(spec))
    app.theme = chosen
    for name in BUILTIN_THEMES:
        if name not in specs:
            app.unregister_theme(name)


def textual_theme(spec: ThemeSpec) -> Theme:
    """The theme as textual knows it; every role is a variable of the same name."""
    return Theme(
        name=spec.name,
        primary=spec["accent"],
        secondary=spec["dim"],
        accent=spec["accent"],
        success=spec["good"],
        warning=spec["tight"],
        error=spec["wrong"],
        foreground=spec["foreground"],
        background=spec["background"],
        surface=spec["background"],
        panel=spec["panel"],
        dark=spec.dark,
        variables={
            **spec.colours,
            "border": spec["faint"],
            "border-blurred": spec["faint"],
            "block-cursor-background": spec["cursor"],
            "block-cursor-foreground": spec["foreground"],
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": spec["cursor"],
            "input-cursor-text-style": "reverse",
            "scrollbar": spec["faint"],
            "scrollbar-hover": spec["dim"],
            "scrollbar-active": spec["dim"],
            "scrollbar-background": spec["background"],
            "scrollbar-background-hover": spec["background"],
            "scrollbar-background-active": spec["background"],
        },
    )
