"""What the seven screens have in common: the frame, values that come down, facts that go up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from tui_lora.core.errors import UserError
from tui_lora.core.text import one_line
from tui_lora.ui.ink import BRIGHT, GOOD, TIGHT, WRONG, ink
from tui_lora.ui.messages import Level, Said, SessionChosen
from tui_lora.ui.terminal import MIN_COLUMNS, MIN_ROWS
from tui_lora.ui.widgets.keys_line import KeysLine
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from tui_lora.core.changed import ChangedSince
    from tui_lora.core.spec import RunSpec
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.app import TuiLora
    from tui_lora.ui.state import RunNow

SAID_S = 12.0
LOOKS: dict[Level, tuple[str, str]] = {
    "info": ("", BRIGHT),
    "good": ("✓ ", GOOD),
    "warning": ("! ", TIGHT),
    "error": ("✗ ", WRONG),
}


class Page(Screen[None]):
    """A screen with the card on top and the keys below; subclasses give what lies between.

    Write `compose_body`, `BINDINGS` (each with an id `area.verb` and a tooltip) and `HELP`; in
    `on_mount` call `follow` for every value to be drawn. What happened is posted as a message of
    `ui/messages.py`; what blocks is a `@work(thread=True, exclusive=True, exit_on_error=False)`,
    whose UserError is shown by itself.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "L", "learn", "learn", False, id="page.learn", tooltip="the lesson on what is at hand"
        ),
    ]
    TITLE_WORD: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    OF_DRAFT: ClassVar[bool] = False
    """Whether it shows the draft, and not the session that was chosen."""
    # Never a field that is not shown: it would swallow every key.
    AUTO_FOCUS = "Table, Rows"
    HORIZONTAL_BREAKPOINTS = [(0, "-too-narrow"), (MIN_COLUMNS, "-narrow"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-too-short"), (MIN_ROWS, "-low"), (22, "-short"), (34, "-tall")]

    def __init__(self) -> None:
        super().__init__()
        self._followed: list[tuple[str, Callable[[Any], None]]] = []
        self._stale: set[str] = set()
        self._silence: Timer | None = None

    @property
    def bench(self) -> TuiLora:
        """The app, which holds `root`, `session`, `run_now`, `draft`, `sensors` and `sessions`."""
        return cast("TuiLora", self.app)

    def compose_body(self) -> ComposeResult:
        """The widgets between the rule and the notice."""
        yield from ()

    def help_for_focus(self) -> Content | None:
        """What `?` says of the focused field, with the user's own values; None: the page's help."""
        return None

    def topic(self) -> str:
        """What is at hand, as the lessons know it: a setting by its path, else the screen."""
        return self.TITLE_WORD.lower()

    def action_learn(self) -> None:
        from tui_lora.ui.screens.learn import learn

        learn(self.bench, self.topic())

    def compose(self) -> ComposeResult:
        yield TopLine(self.TITLE_WORD)
        yield Line(id="rule")
        with Vertical(id="body"):
            yield from self.compose_body()
        yield Line(id="notice")
        yield KeysLine()
        yield Lines(id="too-small")

    def on_mount(self) -> None:
        # Textual calls the on_mount of every class in turn.
        top = self.query_one(TopLine)
        self.follow("sensors", top.show_sensors)
        if self.OF_DRAFT:
            top.show_name("draft")
        else:
            self.follow("session", lambda paths: top.show_name(paths.name if paths else ""))
        self.follow("run_now", self._frame_run)
        self.query_one("#too-small", Lines).say(
            ink("The terminal is too small to draw on.", "bold $tight"),
            ink(f"Make it {MIN_COLUMNS} columns by {MIN_ROWS} rows or more; q leaves."),
        )

    def on_resize(self) -> None:
        self.query_one("#rule", Line).say(ink("─" * self.size.width, "$faint"))

    def follow(self, name: str, show: Callable[[Any], None]) -> None:
        """Call `show` with the app's value `name` now and whenever it changes.

        Not while the page is hidden or under a panel: it catches up when it is on top again.
        """
        if all(known != name for known, _ in self._followed):
            self.watch(self.app, name, partial(self._changed, name), init=False)
        self._followed.append((name, show))
        show(getattr(self.app, name))

    def say(self, text: str, level: Level = "info") -> None:
        """One line above the keys; it goes by itself after a while."""
        if not self.is_mounted:
            self.call_later(self.say, text, level)
            return
        mark, style = LOOKS[level]
        self.query_one("#notice", Line).say(ink(one_line(f"{mark}{text}"), style))
        if self._silence is not None:
            self._silence.stop()
        self._silence = self.set_timer(SAID_S, self.hush)

    def hush(self) -> None:
        self.query_one("#notice", Line).say("")

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def begin_run(self, name: str, spec: RunSpec) -> None:
        """Make a session of a spec, start its worker, and turn to it on the Train screen."""
        from tui_lora.store import runs
        from tui_lora.store.hooks import Unconfirmed
        from tui_lora.ui.hook_question import before_its_command

        try:
            paths = runs.begin(self.bench.root, name, spec, on_progress=self._progressed)
        except Unconfirmed as found:
            go = partial(self.begin_run, name, spec)
            self.app.call_from_thread(before_its_command, self, found.command, go)
            return
        self._started(paths)

    def resume_run(
        self, paths: SessionPaths, changes: Mapping[str, Any] | None = None, reason: str = ""
    ) -> None:
        """Start a session's worker again, from its last checkpoint if it has one, with other
        settings from there on where `changes` names some; where a chat holds a part of the card,
        ask first whether that is closed, and where something was changed since the run was last at
        work, whether it goes on with that."""
        from tui_lora.ui.chat_holds import before_a_run

        before_a_run(self, lambda: self._resume(paths, changes, reason))

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def _resume(
        self,
        paths: SessionPaths,
        changes: Mapping[str, Any] | None,
        reason: str,
        accept: Collection[str] = (),
    ) -> None:
        from tui_lora.core.changed import ChangedSince
        from tui_lora.store import runs
        from tui_lora.store.hooks import Unconfirmed
        from tui_lora.ui.hook_question import before_its_command

        self.post_message(Said(f"{paths.name}: the worker is starting …"))
        try:
            runs.resume(
                paths, changes=changes, reason=reason, accept=accept, on_progress=self._progressed
            )
        except ChangedSince as found:
            go = partial(self._resume, paths, changes, reason, found.keys)
            self.app.call_from_thread(self._ask_changed, paths.name, found, go)
            return
        except Unconfirmed as found:
            go = partial(self._resume, paths, changes, reason, accept)
            self.app.call_from_thread(before_its_command, self, found.command, go)
            return
        self._started(paths)

    def _ask_changed(self, name: str, found: ChangedSince, go: Callable[[], object]) -> None:
        from tui_lora.ui.screens.changed import ChangedList

        def answered(yes: bool | None) -> None:
            if yes:
                go()

        self.hush()
        self.app.push_screen(ChangedList(name, found), answered)

    def _progressed(self, label: str, done: float | None) -> None:
        share = f"  {100 * done:.0f}%" if done is not None else ""
        self.post_message(Said(f"{label}{share}"))

    def _started(self, paths: SessionPaths) -> None:
        self.post_message(SessionChosen(paths, go="train"))
        self.post_message(Said(f"{paths.name} is running, and will be if you leave.", "good"))

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.state is not WorkerState.ERROR:
            return
        error = event.worker.error
        if isinstance(error, UserError):
            text = " ".join(f"{error.what} {error.then}".split())
        else:
            text = f"this did not work ({type(error).__name__}: {error})."
        self.say(text, "error")

    def _changed(self, name: str) -> None:
        # Under a panel too: each change below one would send the whole terminal again.
        if not self.is_current:
            self._stale.add(name)
            return
        value = getattr(self.app, name)
        for known, show in self._followed:
            if known == name:
                show(value)

    def on_screen_resume(self) -> None:
        stale, self._stale = self._stale, set()
        # In the order in which they were followed: a session before what it is doing.
        for name in dict.fromkeys(known for known, _ in self._followed):
            if name in stale:
                self._changed(name)

    def _frame_run(self, run: RunNow | None) -> None:
        alive = run is not None and run.status.alive
        self.query_one(KeysLine).show_leaving("leave, run goes on" if alive else "leave")
        if run is None or not alive:
            self.query_one(TopLine).show_state(Content(""))
            self.query_one(TopLine).show_run(None)
            return
        # The run view's types come with pydantic; the first frame does without.
        from tui_lora.ui.run_numbers import on_card
        from tui_lora.ui.run_text import status_word

        odd = run.status != "running" and not self.OF_DRAFT
        self.query_one(TopLine).show_state(status_word(run.status) if odd else Content(""))
        self.query_one(TopLine).show_run(on_card(run, self.bench.sensors))
