"""The fit check: two steps and an evaluation on the longest rows, beside what was predicted."""

from __future__ import annotations

import time
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content

from tui_lora.core.errors import Problem
from tui_lora.core.fit_check import (
    FitBegun,
    FitFailed,
    FitFound,
    FitWorking,
    as_checked,
)
from tui_lora.core.inspect import ForecastMemory, InspectFailed, MemoryForecast
from tui_lora.core.memory import Forecast
from tui_lora.core.sensors import CardReading
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.ui.fit_check_text import (
    asking_rows,
    ended_rows,
    in_room,
    place_of,
    problem_rows,
    running_rows,
    title,
)
from tui_lora.ui.fit_link import (
    FitEnded,
    FitHeard,
    FitLink,
    FitLooked,
    keep_check,
    kept_check,
    look_around,
)
from tui_lora.ui.ink import dim, keys_row
from tui_lora.ui.inspector import Answered, InspectorChanged
from tui_lora.ui.memory_asked import asked_with, card_seen
from tui_lora.ui.page import Page
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.state import MemorySeen
from tui_lora.ui.widgets.headroom import HeadroomFoot, HeadroomPanel
from tui_lora.ui.widgets.line import Block, Line

PANEL_SHARE = 0.8
AROUND_ROWS = 4
"""Border, padding and the keys."""
MOST_ROWS = 19
HELD_GIB = 1.0
"""What others hold of a card is asked about from here on: a desktop takes less."""
_KILLED = -9


def open_fit_check(page: Page) -> None:
    page.app.push_screen(FitCheckScreen(page), partial(_then, page))


def _then(page: Page, action: str | None) -> None:
    for panel in (*page.query(HeadroomPanel), *page.query(HeadroomFoot)):
        panel.show_again()
    if action is not None:
        page.call_later(page.run_action, action)


class FitCheckScreen(Panel[str | None]):
    """Dismissed with the action of the page that comes next, or with None."""

    BINDINGS: ClassVar = [
        Binding("enter", "go", "go on", id="fit_check.go", tooltip="check it all the same"),
        Binding("f", "again", "again", id="fit_check.again", tooltip="measure it again"),
        Binding(
            "a", "next('advise')", "advice", id="fit_check.advise", tooltip="what makes it fit"
        ),
        Binding("s", "next('start')", "start", id="fit_check.start", tooltip="start the run"),
        Binding("escape,q", "leave", "leave", id="fit_check.leave", tooltip="end it and leave"),
    ]
    DEFAULT_CSS = """
    FitCheckScreen Block { overflow: hidden hidden; }
    """

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._bench = page.bench
        self._draft = page.bench.draft
        self._spec: RunSpec | None = None
        self._problems: tuple[Problem, ...] = ()
        self._card: CardReading | None = None
        self._training: tuple[str, ...] = ()
        self._driver = ""
        self._asking = False
        self._link: FitLink | None = None
        self._found = FitFound()
        self._working: FitWorking | None = None
        self._since = time.monotonic()
        self._forecast: Forecast | None = None
        self._why = ""
        self._room = MOST_ROWS

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Block(MOST_ROWS)
            yield Line(id="picker-keys")

    def on_mount(self) -> None:
        # What was asked of it before belongs to another batch.
        self._bench.inspector.answer_to(self.post_message, "check")
        self.set_interval(1.0, self._tick)
        kept = kept_check(self.app, self._bench.memory_seen.spec)
        if kept is not None:
            self._spec = self._bench.memory_seen.spec
            self._found, self._forecast = kept.found, kept.forecast
            if kept.forecast is None and kept.found.begun is not None:
                # It was left before it was simulated.
                self._ask_forecast(kept.found.begun)
        else:
            self._look_around()
        self._show()

    def on_unmount(self) -> None:
        self._bench.inspector.drop("check")
        self._end()

    def on_resize(self) -> None:
        room = int(PANEL_SHARE * self.app.size.height) - AROUND_ROWS
        self._room = min(MOST_ROWS, max(4, room))
        self.query_one(Block).styles.height = self._room
        self._show()

    # What must hold before it begins.

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look_around(self) -> None:
        self.post_message(look_around(self._draft, self._bench.root, self._bench.sensors))

    @on(FitLooked)
    def _looked(self, fact: FitLooked) -> None:
        self._spec, self._problems, self._training = fact.spec, fact.problems, fact.training
        self._driver = fact.reading.nvml_problem or ""
        if fact.spec is not None and not fact.problems:
            on_cpu = fact.spec.hardware.devices == "cpu"
            self._card = fact.reading.card_of(fact.spec.hardware.devices)
            self._asking = not on_cpu and (self._card is None or self._is_taken(self._card))
            if not self._asking:
                self._begin()
        self._show()

    def _is_taken(self, card: CardReading) -> bool:
        return bool(self._training) or (card.used_gib or 0.0) >= HELD_GIB

    # The check.

    def _begin(self) -> None:
        assert self._spec is not None
        self._asking = False
        self._found, self._working, self._since = FitFound(), None, time.monotonic()
        self._forecast, self._why = None, ""
        self._link = FitLink(self._spec, self._bench.root, self.post_message)

    def _end(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    @on(FitHeard)
    def _heard(self, fact: FitHeard) -> None:
        said = fact.said
        if self._link is None:
            return
        self._found = self._found.heard(said)
        if isinstance(said, FitWorking):
            if self._working is None or said.label != self._working.label:
                self._since = time.monotonic()
            self._working = said
        elif isinstance(said, FitBegun):
            self._ask_forecast(said)
        if self._found.ended is not None:
            self._end()
            self._keep()
        self._show()

    @on(FitEnded)
    def _ended(self, fact: FitEnded) -> None:
        if self._link is None:
            return
        self._end()
        last = fact.words.splitlines()[-1] if fact.words else f"exit code {fact.code}"
        words = f"the fit check worker ended: {last}"
        if fact.code == _KILLED:
            words = "the system ended the worker, which it does where memory runs out."
        self._found = self._found.heard(FitFailed(message=one_line(words)))
        self._show()

    def _keep(self) -> None:
        if self._spec is not None and self._found.checked is not None:
            keep_check(self.app, self._spec, self._found, self._forecast)

    # What was predicted of the very batch that is measured.

    def _ask_forecast(self, begun: FitBegun) -> None:
        if begun.device == "cpu" or self._spec is None:
            return
        card = card_seen(self._bench.sensors, self._spec.hardware.devices)
        asked = asked_with(MemorySeen(card, as_checked(self._spec, begun)), self._bench.root)
        self._bench.inspector.start()
        self._bench.inspector.ask("check", ForecastMemory, **asked)

    @on(Answered)
    def _answered(self, fact: Answered) -> None:
        if fact.kind != "check":
            return
        fact.stop()
        if isinstance(fact.answer, MemoryForecast):
            self._forecast, self._why = fact.answer.forecast, one_line(fact.answer.unknown)
        elif isinstance(fact.answer, InspectFailed):
            self._why = one_line(fact.answer.message)
        self._keep()
        self._show()

    @on(InspectorChanged)
    def _inspector_changed(self, fact: InspectorChanged) -> None:
        fact.stop()
        if fact.state == "ended" and self._forecast is None:
            self._why = one_line(f"the inspect worker ended: {fact.words}")
            self._show()

    # Keys.

    @property
    def _done(self) -> bool:
        return self._found.ended is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "go":
            return self._asking
        if action == "again":
            return self._done
        if action == "next":
            return self._done and not isinstance(self._found.ended, FitFailed)
        return True

    def action_go(self) -> None:
        self._begin()
        self._show()

    def action_again(self) -> None:
        self._found = FitFound()
        self._since = time.monotonic()
        self._look_around()
        self._show()

    def action_next(self, action: str) -> None:
        self.dismiss(action)

    def action_leave(self) -> None:
        self._end()
        self.dismiss(None)

    # What is shown.

    def _tick(self) -> None:
        if self._link is not None:
            self._show()

    def _show(self) -> None:
        block = self.query_one(Block)
        width = block.content_size.width
        if width < 30:
            return
        rows, keys = self._rows(width), self._keys()
        block.say([title(place_of(self._found, self._card), width), *in_room(rows, self._room - 1)])
        row = self.query_one("#picker-keys", Line)
        row.say(keys_row(keys, row.size.width))
        self.refresh_bindings()

    def _rows(self, width: int) -> list[Content]:
        if self._done:
            return ended_rows(self._found, self._forecast, self._why, width)
        if self._problems:
            return problem_rows(self._problems, width)
        if self._asking:
            return asking_rows(self._card, self._training, self._driver, width)
        if self._link is None:
            return [dim("looking at the model, the rows and the card …")]
        return running_rows(self._found, self._working, time.monotonic() - self._since, width)

    def _keys(self) -> tuple[tuple[str, str], ...]:
        if self._asking:
            return (("Enter", "checks it all the same"), ("Esc", "leaves"))
        if not self._done:
            words = "ends it; nothing stays on the card" if self._link is not None else "leaves"
            return (("Esc", words),)
        first: tuple[tuple[str, str], ...] = ()
        if self._found.ran_out is not None:
            first = (("a", "what makes it fit"),)
        elif self._found.checked is not None and self._found.verdict in ("fits", "unknown"):
            first = (("s", "starts the run"), ("a", "what else fits"))
        elif self._found.checked is not None:
            first = (("a", "what makes it fit"), ("s", "starts the run"))
        return (*first, ("f", "measures again"), ("Esc", "leaves"))
