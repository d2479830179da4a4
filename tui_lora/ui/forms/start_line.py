"""The line that stays in sight: what follows from the draft, or how far its start is."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import on
from textual.content import Content

from tui_lora.core.fields import get
from tui_lora.core.text import number
from tui_lora.store.hooks import SETTING
from tui_lora.ui.chat_facts import LinkChanged
from tui_lora.ui.chat_holds import before_a_run, held_on_card
from tui_lora.ui.chat_link import link_of
from tui_lora.ui.hook_question import before_its_command
from tui_lora.ui.ink import ACCENT, TIGHT, bar, dim, ink, join
from tui_lora.ui.settings_facts import StartEnded, StartProgressed, start
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Line

if TYPE_CHECKING:
    from tui_lora.ui.page import Page


class StartLine(Line):
    """`begin` starts a draft in a thread; `ProblemsFound` and `StartEnded` say what came of it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._summary = Content("")
        self._progress: StartProgressed | None = None
        self._cancel = threading.Event()
        self.card_runs = ""
        """The session that runs on the card that the draft wants, as far as that was looked up."""

    @property
    def busy(self) -> bool:
        return self._progress is not None

    def show_summary(self, summary: Content) -> None:
        self._summary = summary
        self._draw()

    def on_mount(self) -> None:
        link_of(self.app).tell(self)

    def begin(self, draft: Draft, root: Path, *, queued: bool = False) -> None:
        """Start it, or where it is `queued`, when its card is free; where a chat holds a part of
        the card, and it would start now, ask first whether that is closed."""
        if self.busy:
            return
        page = cast("Page", self.screen)
        command = get(draft.data, SETTING)
        go = partial(self._begin, draft, root, queued)
        # What is no text at all is for the check to refuse.
        asked = command if isinstance(command, str) else None
        begin = partial(before_its_command, page, asked, go)
        if queued and self.card_runs:
            begin()
        else:
            before_a_run(page, begin)

    def _begin(self, draft: Draft, root: Path, queued: bool) -> None:
        self._cancel = threading.Event()
        self._show(StartProgressed("checking", None))
        # The page's, which says so if it fails.
        self.screen.run_worker(
            partial(start, draft, root, self._cancel, self.post_message, queued=queued),
            thread=True,
            exit_on_error=False,
            group="start",
        )

    def cancel(self) -> None:
        """Call it off at the next sign of progress; a worker that has begun goes on."""
        if self.busy:
            self._cancel.set()
            self._show(StartProgressed("cancelling", None))

    def on_unmount(self) -> None:
        link_of(self.app).forget(self)
        # A thread that fetches would keep the program from ending.
        self._cancel.set()

    def on_resize(self) -> None:
        self._draw()

    @on(LinkChanged)
    def _link_changed(self) -> None:
        self._draw()

    @on(StartProgressed)
    def _progressed(self, fact: StartProgressed) -> None:
        fact.stop()
        if self.busy and not self._cancel.is_set():
            self._show(fact)

    @on(StartEnded)
    def _ended(self) -> None:
        self._show(None)

    def _show(self, progress: StartProgressed | None) -> None:
        turned = self.busy != (progress is not None)
        self._progress = progress
        self._draw()
        if turned:
            self.screen.refresh_bindings()

    def _draw(self) -> None:
        width = self.size.width
        if self._progress is None or width < 20:
            held = held_on_card(link_of(self.app))
            chat = f"   chat takes {number(held)} GiB of the card" if held is not None else ""
            self.say(join(self._summary, (chat, TIGHT)))
            return
        row = join(("● ", ACCENT), ink(self._progress.label), dim(" …"))
        share = self._progress.share
        if share is not None:
            end = join("  ", ink(f"{100 * share:3.0f}"), dim("%"))
            room = min(40, width - row.cell_length - end.cell_length - 2)
            row = join(row, "  ", bar(share, room) if room >= 6 else "", end)
        self.say(row)
