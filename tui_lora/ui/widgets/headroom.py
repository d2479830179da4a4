"""The headroom: a panel beside the settings, and two rows where there is no room for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.content import Content

from tui_lora.ui.fit_link import with_measured
from tui_lora.ui.headroom_text import PANEL_ROWS, foot_rows, panel_rows
from tui_lora.ui.page import Page
from tui_lora.ui.state import MemorySeen, ModelSeen
from tui_lora.ui.widgets.line import Block

LEAST_WIDTH = 30


class _Headroom(Block):
    """Follows what is known; each row is painted only when it says something else."""

    ROWS: ClassVar[int]
    SAYS: ClassVar[Callable[[MemorySeen, int], list[Content]]]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self.ROWS, id=id)
        self._seen = MemorySeen()
        self._stored = ""

    def on_mount(self) -> None:
        assert isinstance(self.screen, Page)
        self.screen.follow("memory_seen", self._show)
        self.screen.follow("model_seen", self._know_model)

    def on_resize(self) -> None:
        self._show(self._seen)

    def _know_model(self, seen: ModelSeen) -> None:
        scheme = seen.looked.shape.scheme if seen.looked is not None else "none"
        self._stored = "" if scheme == "none" else scheme
        self._show(self._seen)

    def show_again(self) -> None:
        """The draft was measured, which is known beside what is followed."""
        self._show(self._seen)

    def _show(self, seen: MemorySeen) -> None:
        self._seen = seen
        if (width := self.content_size.width) >= LEAST_WIDTH:
            known = replace(with_measured(self.app, seen), stored=self._stored)
            self.say(type(self).SAYS(known, width))


class HeadroomPanel(_Headroom):
    DEFAULT_CSS = "HeadroomPanel { width: 44; height: 1fr; overflow: hidden hidden; }"
    ROWS, SAYS = PANEL_ROWS, panel_rows


class HeadroomFoot(_Headroom):
    ROWS, SAYS = 2, foot_rows
