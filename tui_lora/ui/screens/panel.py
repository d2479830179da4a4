"""A panel over the lower part of a screen, which takes all of it where there are few rows."""

from __future__ import annotations

from typing import TypeVar

from textual.screen import ModalScreen

Answer = TypeVar("Answer")

ROOMY_FROM = 24


class Panel(ModalScreen[Answer]):
    """Holds one `.panel`; how it looks stands in app.tcss."""

    VERTICAL_BREAKPOINTS = [(0, "-few-rows"), (ROOMY_FROM, "-roomy")]
