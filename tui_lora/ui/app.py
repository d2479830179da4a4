"""The app: a switchboard. It holds what is known, answers the facts, and switches screens.

What is known lies in the vars below, each set in one place; screens `follow` them.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.reactive import var
from textual.screen import Screen

from tui_lora.store.draft import read_draft
from tui_lora.store.paths import SessionPaths
from tui_lora.store.preferences import read_preferences, remember
from tui_lora.store.theme_files import read_themes
from tui_lora.ui.draft_looks import DraftLooks
from tui_lora.ui.ink import ink
from tui_lora.ui.inspector import Answered, Inspector, InspectorChanged
from tui_lora.ui.keymap import PLACES, place
from tui_lora.ui.messages import (
    CardAskedAbout,
    DraftReplaced,
    Level,
    RunChanged,
    Said,
    SensorsRead,
    SessionChosen,
    SessionsListed,
    SettingsChanged,
)
from tui_lora.ui.model_sizes import SizesRead
from tui_lora.ui.page import Page
from tui_lora.ui.plain_crash import PlainCrash
from tui_lora.ui.state import Draft, DraftKeeper, MemorySeen, ModelSeen, RunNow
from tui_lora.ui.theming import DEFAULTS, offer

if TYPE_CHECKING:
    from tui_lora.core.sensors import SensorReading
    from tui_lora.store.sessions import Summary
    from tui_lora.ui.feed import Feed


SETTLED_S = 3.0
"""By then all that lives as long as the app was imported and built. Left out of the collector's
walks from there on, which took 55 ms each and held up whatever key came then."""


class TuiLora(PlainCrash):
    """`live` False reads no sessions and no sensors by itself: tests post the facts instead."""

    TITLE = "tui-lora"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar = [
        *(found.binding for found in PLACES),
        Binding(
            "q,ctrl+q", "leave", "leave", False, tooltip="leave; a run goes on", id="app.leave"
        ),
        Binding("ctrl+c", "how_to_leave", "", False, tooltip="says how to leave", id="app.how"),
        Binding(
            "question_mark",
            "help",
            "help",
            False,
            tooltip="what is this, which keys",
            id="app.help",
        ),
        Binding(
            "ctrl+o",
            "switch",
            "screens",
            False,
            tooltip="choose a screen, also while typing",
            id="app.switch",
            priority=True,
        ),
    ]

    session: var[SessionPaths | None] = var(None)
    run_now: var[RunNow | None] = var(None)
    sensors: var[SensorReading | None] = var(None)
    sessions: var[tuple[Summary, ...] | None] = var(None)
    draft: var[Draft] = var(Draft())
    model_seen: var[ModelSeen] = var(ModelSeen())
    memory_seen: var[MemorySeen] = var(MemorySeen())
    listing: var[bool] = var(False)

    def __init__(
        self, root: Path, *, session: SessionPaths | None = None, start: str = "", live: bool = True
    ) -> None:
        # Instead of a blank default screen that would be painted first.
        self.DEFAULT_MODE = start or ("train" if session else PLACES[0].id)  # type: ignore[misc]
        super().__init__()
        self.root = root
        self._live = live
        self._feed: Feed | None = None
        self._keeper = DraftKeeper(self._draft_not_kept)
        self.inspector = Inspector()
        self._looks = DraftLooks(self, self.inspector)
        for found in PLACES:
            self.add_mode(found.id, found.load)
        self.themes = read_themes()
        offer(self, self.themes.specs, self.themes.named(read_preferences().theme).name)
        self.set_reactive(TuiLora.session, session)
        self.set_reactive(TuiLora.draft, Draft(*read_draft()))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DEFAULTS)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        from tui_lora.ui.commands import commands

        return commands(self, screen)

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        names = ", ".join(sorted(b.id or b.key for b in clashed_bindings))
        self.say(f"several actions have the same key: {names}.", "warning")

    # Coming and going.

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """After the first frame: what costs time to import, and what reads disks."""
        if problems := self.themes.problems:
            count = f"{len(problems)} problems in themes, the first: " if problems[1:] else ""
            self.say(f"{count}{problems[0]}", "warning")
        if not self._live:
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.exit)
        from tui_lora.ui.feed import Feed, Outbox

        self._feed = Feed(Outbox(loop, self.post_message), self.root, self.bell)
        self._feed.follow(self.session)
        self._feed.list_sessions(self.listing)
        self._feed.start()
        self.set_timer(SETTLED_S, gc.freeze)

    def on_unmount(self) -> None:
        if self._feed is not None:
            self._feed.stop()
        self.inspector.close()
        self._keeper.flush()

    # Facts, answered.

    def on_session_chosen(self, fact: SessionChosen) -> None:
        if fact.paths != self.session:
            self.session, self.run_now = fact.paths, None
            if self._feed is not None:
                self._feed.follow(fact.paths)
        if fact.go:
            self.go(fact.go)

    def on_run_changed(self, fact: RunChanged) -> None:
        if fact.run.paths == self.session:
            self.run_now = fact.run

    def on_sensors_read(self, fact: SensorsRead) -> None:
        self.sensors = fact.reading
        self._looks.memory.see_cards(fact.reading)

    def on_card_asked_about(self, fact: CardAskedAbout) -> None:
        self._looks.memory.ask_about(fact.card)
        self._remember("the card", card=fact.card.name if fact.card is not None else "")

    def on_sessions_listed(self, fact: SessionsListed) -> None:
        self.sessions = fact.sessions

    def on_settings_changed(self, fact: SettingsChanged) -> None:
        self.draft = self.draft.changed(fact.values)
        self._keeper.keep(self.draft)

    def on_draft_replaced(self, fact: DraftReplaced) -> None:
        self.draft = fact.draft
        self._keeper.keep(self.draft)

    def watch_draft(self, draft: Draft) -> None:
        self._looks.follow(draft)

    @on(Answered)
    @on(InspectorChanged)
    @on(SizesRead)
    def _inspected(self, fact: Answered | InspectorChanged | SizesRead) -> None:
        self._looks.hear(fact)

    def on_said(self, fact: Said) -> None:
        self.say(fact.text, fact.level)

    def watch_listing(self, wanted: bool) -> None:
        if self._feed is not None:
            self._feed.list_sessions(wanted)

    def _draft_not_kept(self, error: OSError) -> None:
        # Called in the keeper's thread; posting is safe there.
        self.post_message(Said(f"the draft could not be kept: {error.strerror}.", "error"))

    # What the user asks of the app itself.

    def go(self, id: str) -> None:
        """Switch to a screen, if it exists."""
        if place(id) is not None and self.current_mode != id:
            while len(self.screen_stack) > 1:
                self.pop_screen()
            self.switch_mode(id)

    action_go = go

    def look_at_model(self) -> None:
        """Keep `model_seen` and `memory_seen` up to date from now on; after the next frame."""
        self.call_after_refresh(lambda: self._looks.begin(self.draft))

    def say(self, text: str, level: Level = "info") -> None:
        """One line above the keys of the screen that is shown."""
        page = self.screen_stack[0]
        if isinstance(page, Page):
            page.say(text, level)

    def choose_theme(self, name: str) -> None:
        """Use a theme, and remember it."""
        self.theme = self.themes.named(name).name
        self._remember("the theme", theme=self.theme)

    def _remember(self, what: str, **values: str) -> None:
        try:
            remember(**values)
        except OSError as error:
            self.say(f"{what} could not be remembered: {error.strerror}.", "warning")

    def action_leave(self) -> None:
        self.exit()

    def action_how_to_leave(self) -> None:
        self.say("q leaves (ctrl+q while typing); a run that is training goes on without you.")

    def action_switch(self) -> None:
        from tui_lora.ui.commands import places

        self.search_commands(places(self), "which screen?")

    def action_help(self) -> None:
        page = self.screen
        if not isinstance(page, Page):
            return
        from tui_lora.ui.screens.help import HelpScreen, keys_of

        about = page.help_for_focus() or ink(page.HELP)
        self.push_screen(HelpScreen(page.TITLE_WORD, about, keys_of(page), page.topic()))
