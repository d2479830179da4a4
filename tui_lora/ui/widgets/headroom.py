"""The headroom: a panel beside what is chosen, and two rows where there is no room for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual.content import Content

from tui_lora.ui.fit_link import with_measured
from tui_lora.ui.headroom_text import PANEL_ROWS, foot_rows, panel_rows
from tui_lora.ui.page import Page
from tui_lora.ui.state import MemorySeen, ModelSeen
from tui_lora.ui.widgets.line import Block

LEAST_WIDTH = 30


class _Rows(Block):
    """`show` what is known; each row is painted only when it says something else."""

    ROWS: ClassVar[int]
    SAYS: ClassVar[Callable[[MemorySeen, int], list[Content]]]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self.ROWS, id=id)
        self._seen = MemorySeen()

    def on_resize(self) -> None:
        self.show(self._seen)

    def show(self, seen: MemorySeen) -> None:
        self._seen = seen
        if (width := self.content_size.width) >= LEAST_WIDTH:
            self.say(type(self).SAYS(self.known(seen), width))

    def known(self, seen: MemorySeen) -> MemorySeen:
        """With what is known beside it."""
        return seen


class _OfDraft(_Rows):
    """Follows what is known of the draft."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stored = ""

    def on_mount(self) -> None:
        assert isinstance(self.screen, Page)
        self.screen.follow("memory_seen", self.show)
        self.screen.follow("model_seen", self._know_model)

    def _know_model(self, seen: ModelSeen) -> None:
        scheme = seen.looked.shape.scheme if seen.looked is not None else "none"
        self._stored = "" if scheme == "none" else scheme
        self.show(self._seen)

    def show_again(self) -> None:
        """The draft was measured, which is known beside what is followed."""
        self.show(self._seen)

    def known(self, seen: MemorySeen) -> MemorySeen:
        return replace(with_measured(self.app, seen), stored=self._stored)


class HeadroomPanel(_OfDraft):
    DEFAULT_CSS = "HeadroomPanel { width: 44; height: 1fr; overflow: hidden hidden; }"
    ROWS, SAYS = PANEL_ROWS, panel_rows


class HeadroomFoot(_OfDraft):
    ROWS, SAYS = 2, foot_rows


class ModelHeadroom(_Rows):
    """The panel for a model that need not be the draft's, so without the keys that mend a draft."""

    DEFAULT_CSS = "ModelHeadroom { width: 44; height: 1fr; overflow: hidden hidden; }"
    ROWS, SAYS = PANEL_ROWS, partial(panel_rows, of_draft=False)
