"""What an error that nobody foresaw leaves in the terminal: where it was, and no values."""

from __future__ import annotations

import os
import sys
import traceback

from rich.text import Text
from textual.app import App

from tui_lora.core.text import clean

_NEXT = (
    "tui-lora has ended by an error of its own; a run goes on without it.\n"
    "For a report that you can read before you send it: tui-lora doctor --report"
)


class PlainCrash(App[None]):
    """Textual shows the local variables of every frame, in which a key of the environment or a
    row of somebody's data may be; terminals are copied into reports."""

    def _fatal_error(self) -> None:
        self.bell()
        from tui_lora.store.doctor_report import scrubber_here

        text = clean("".join(traceback.format_exception(*sys.exc_info())))
        # Text, not a str, which would be parsed as markup.
        told = scrubber_here(os.environ).scrub(text)
        self._exit_renderables.append(Text(f"{told}\n{_NEXT}"))
        self._close_messages_no_wait()
