"""What the Settings screen has to do with the queue: a start when the card is free."""

from __future__ import annotations

from textual import on, work
from textual.worker import get_current_worker

from tui_lora.store.paths import SessionPaths
from tui_lora.ui.forms.start_line import StartLine
from tui_lora.ui.messages import Said, SessionChosen
from tui_lora.ui.page import Page
from tui_lora.ui.queueing import CardLooked, card_looked
from tui_lora.ui.settings_facts import StartEnded
from tui_lora.ui.state import Draft, RunNow


class StartsLater(Page):
    """Knows in `card_runs` which session runs on the card that the draft wants, empty for none."""

    card_runs = ""
    _run_was: tuple[bool, SessionPaths | None] = (False, None)

    def on_mount(self) -> None:
        self.follow("draft", self._draft_changed)
        self.follow("run_now", self._run_changed)

    def on_screen_resume(self) -> None:
        self._look_at_card(self.bench.draft)

    def _show_foot(self) -> None:
        """Draw what stands below the form, `card_runs` among it."""

    def turn_to_started(self, fact: StartEnded) -> None:
        """Show what a start that succeeded has come to: a run, or a session that waits."""
        assert fact.paths is not None
        if fact.waits:
            self.post_message(SessionChosen(fact.paths, go="sessions"))
            self.post_message(Said(fact.waits, "good"))
        else:
            self._started(fact.paths)

    def _draft_changed(self, draft: Draft) -> None:
        self._look_at_card(draft)

    def _run_changed(self, run: RunNow | None) -> None:
        now: tuple[bool, SessionPaths | None] = (False, None)
        if run is not None:
            now = (run.status.alive, run.paths)
        if now != self._run_was:
            self._run_was = now
            self._look_at_card(self.bench.draft)

    @work(thread=True, exclusive=True, exit_on_error=False, group="card")
    def _look_at_card(self, draft: Draft) -> None:
        worker, found = get_current_worker(), card_looked(draft, self.bench.root)
        if not worker.is_cancelled:
            self.post_message(found)

    @on(CardLooked)
    def _card_looked(self, fact: CardLooked) -> None:
        if fact.runs != self.card_runs:
            self.card_runs = self.query_one(StartLine).card_runs = fact.runs
            self._show_foot()
