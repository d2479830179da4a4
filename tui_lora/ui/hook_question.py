"""The question before a run starts that brings a command for its end, once for each command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tui_lora.core.errors import UserError
from tui_lora.core.text import one_line
from tui_lora.store.hooks import SETTING, confirm, is_confirmed
from tui_lora.ui.screens.question import Question

if TYPE_CHECKING:
    from tui_lora.ui.page import Page

MOST_CHARS = 300
"""What is longer is not confirmed here: nobody would see its end."""


def before_its_command(page: Page, command: str | None, go: Callable[[], object]) -> None:
    """Do `go`, which starts a run that ends with this command; ask first where it is new here."""
    if not command or is_confirmed(command):
        go()
        return
    shown = one_line(command, max_chars=MOST_CHARS + 1)
    if len(shown) > MOST_CHARS:
        page.say(f"{SETTING} is too long to be shown here: start it from a shell.", "error")
        return

    def answered(yes: bool | None) -> None:
        if not yes:
            return
        try:
            confirm(command)
        except UserError as error:
            page.say(f"{error.what} {error.then}", "error")
        else:
            go()

    page.hush()
    page.app.push_screen(
        Question(
            "Let the run end with this command?",
            f"{shown}   It runs as you, by /bin/sh ({SETTING}). Asked once for each command.",
            "let it run, and start",
            "start nothing",
        ),
        answered,
    )
