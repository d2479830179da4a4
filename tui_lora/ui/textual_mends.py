"""What is wrong in textual itself and costs our users something, mended from outside.

Each has a test that fails without it; where textual has mended it, it goes.
"""

from __future__ import annotations

from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual._styles_cache import StylesCache
from textual.app import App
from textual.color import Color
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import Monochrome


class Greys(Monochrome):
    """What $NO_COLOR asks for. textual's own fails on a piece that has no style at all."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return super().apply([Segment(s.text, s.style or Style()) for s in segments], background)


def _go_on(driver: LinuxDriver, *_: Any) -> None:
    """After SIGCONT. textual begins to read the keyboard anew, also where nothing ended the old
    reading (SIGSTOP tells nobody): two take turns then, and leaving waits for one more key."""
    reading = driver._key_thread
    if driver._auto_restart and reading is not None and reading.is_alive():
        driver.suspend_application_mode()
    if driver._auto_restart:
        driver.resume_application_mode()


def mend_textual(app: App[None]) -> None:
    """Mend it for an app that is being made."""
    LinuxDriver._sigcont_application = _go_on  # type: ignore[assignment, method-assign]
    app._filters = [Greys() if isinstance(one, Monochrome) else one for one in app._filters]
    # Its cache is keyed by the widget's own as well, so that each widget that was ever shown stays
    # in memory with all its rows: 0.1 MiB each time that the help is opened.
    kept = StylesCache.__dict__["get_inner_outer"]
    if not isinstance(kept, classmethod):
        StylesCache.get_inner_outer = classmethod(kept)  # type: ignore[assignment]
