"""What ctrl+p finds: every screen, every key of the screen at hand, every theme."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.screen import Screen

from tui_lora.ui.keymap import PLACES
from tui_lora.ui.widgets.keys_line import key_name, usable

if TYPE_CHECKING:
    from tui_lora.ui.app import TuiLora


def commands(app: TuiLora, screen: Screen[Any]) -> Iterable[SystemCommand]:
    """The palette's entries, made anew each time it opens."""
    for place in PLACES:
        yield SystemCommand(
            f"Go to {place.title}", f"{place.about}   {place.key}", partial(app.go, place.id)
        )
    for active in usable(screen):
        binding = active.binding
        if not binding.description or str(binding.id).startswith(("go.", "table.", "app.help")):
            continue
        yield SystemCommand(
            binding.description.capitalize(),
            f"{binding.tooltip}   {key_name(binding.key)}",
            partial(app.call_later, app.run_action, binding.action, active.node),
        )
    # Not from the bindings: while one types, ? is text and this the only way to it.
    yield SystemCommand(
        "Help", "what is this, which keys   ?", partial(app.call_later, app.action_help)
    )
    yield SystemCommand(
        "Doctor", "what is wrong with this machine", partial(app.call_later, doctor, app)
    )
    from tui_lora.core.lessons import TITLES

    for number, (key, title) in enumerate(TITLES.items(), start=1):
        yield SystemCommand(
            f"Learn: {title}",
            f"lesson {number} of {len(TITLES)}",
            partial(app.call_later, open_lesson, app, key),
        )
    for spec in app.themes.specs.values():
        chosen = "   in use" if spec.name == app.theme else ""
        yield SystemCommand(
            f"Theme: {spec.name}", f"{spec.about}{chosen}", partial(app.choose_theme, spec.name)
        )


def doctor(app: TuiLora) -> None:
    """Every check of this machine, over the screen at hand."""
    from tui_lora.ui.screens.doctor import open_doctor

    open_doctor(app)


def open_lesson(app: TuiLora, key: str) -> None:
    """The lesson of that key, over the screen at hand."""
    from tui_lora.ui.screens.learn import learn

    learn(app, key)


def places(app: TuiLora) -> list[tuple[str, Callable[[], None], str]]:
    """The screen switcher's entries: name, what to call, what it is for."""
    return [(f"{p.key}  {p.title}", partial(app.go, p.id), p.about) for p in PLACES]
