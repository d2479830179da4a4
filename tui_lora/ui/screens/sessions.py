"""Sessions: every run and what became of it. Open, resume, duplicate, delete, filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Input

from tui_lora.core.text import one_line
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import queueing
from tui_lora.ui.chat_holds import before_a_run
from tui_lora.ui.ink import TIGHT, WRONG, dim, ink
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import Said, SessionChosen
from tui_lora.ui.page import Page
from tui_lora.ui.queueing import in_order, stall_words
from tui_lora.ui.screens.question import Question
from tui_lora.ui.session_rows import COLUMNS, haystack, of_what, row_of
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.filter import Filter
from tui_lora.ui.widgets.line import Block, Line
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.store.sessions import Summary


class SessionsScreen(Page):
    TITLE_WORD = "Sessions"
    CSS_PATH = "sessions.tcss"
    HELP = (
        "Every session in the sessions folder: those that run, then the others, the last changed "
        "first. A session is a folder: its run spec, its log, its checkpoints and its adapter; "
        "copy it to another machine and it opens there. held-out is the last loss on rows that "
        "were never trained on, base the same before the first step. Those that wait for a card "
        "stand in their order under what runs: t puts one in the queue and takes it out, < and > "
        "move it, and each run that ends starts the next. Space marks some, and o lays their "
        "curves over each other."
    )
    BINDINGS = [
        Binding("n", "new", "new", id="sessions.new", tooltip="put a new run together"),
        Binding(
            "r", "resume", "resume", id="sessions.resume", tooltip="start it, or go on with it"
        ),
        Binding(
            "t",
            "queue",
            "queue",
            id="sessions.queue",
            tooltip="let it wait until its card is free, or wait no more",
        ),
        Binding(
            "less_than_sign,shift+up",
            "earlier(-1)",
            "earlier",
            id="sessions.earlier",
            tooltip="one place forward in the queue",
        ),
        Binding(
            "greater_than_sign,shift+down",
            "earlier(1)",
            "later",
            id="sessions.later",
            tooltip="one place back in the queue",
        ),
        Binding(
            "g",
            "start_queue",
            "go on",
            id="sessions.start_queue",
            tooltip="start who is next in the queue, where nothing runs",
        ),
        Binding(
            "d", "duplicate", "duplicate", id="sessions.duplicate", tooltip="a new draft like it"
        ),
        Binding(
            "c",
            "compare",
            "compare",
            id="sessions.compare",
            tooltip="mark it, and lay the next one beside it",
        ),
        Binding(
            "space", "mark", "mark", False, id="sessions.mark", tooltip="mark it, or no longer"
        ),
        Binding(
            "o",
            "overlay",
            "overlay",
            False,
            id="sessions.overlay",
            tooltip="lay the curves of all that are marked over each other",
        ),
        Binding("x", "delete", "delete", id="sessions.delete", tooltip="delete it (asks first)"),
        Binding("slash", "filter", "filter", id="sessions.filter", tooltip="only names, models …"),
        Binding(
            "escape",
            "unfilter",
            "show all",
            id="sessions.unfilter",
            tooltip="show all again",
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, Summary] = {}
        self._wanted: str | None = None
        self._marked = ""
        self._together: list[str] = []
        """Those that are to be laid over each other, in the order in which they were marked."""

    def compose_body(self) -> ComposeResult:
        yield Filter("name, model, dataset, task or status")
        yield Table(*COLUMNS, id="table")
        yield Empty(id="empty")
        yield Line(id="stalled")
        yield Block(2, id="detail")

    def on_mount(self) -> None:
        self.follow("sessions", self._show)
        self.query_one(Table).focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_detail)

    def on_screen_resume(self) -> None:
        self.bench.listing = True

    def on_screen_suspend(self) -> None:
        self.bench.listing = False

    def _show(self, sessions: tuple[Summary, ...] | None) -> None:
        words = self.query_one("#filter", Input).value.lower().split()
        shown = [s for s in in_order(sessions or ()) if all(word in haystack(s) for word in words)]
        self._shown = {summary.name: summary for summary in shown}
        self.query_one(Table).show(
            [
                row_of(summary, marked=summary.name in (self._marked, *self._together))
                for summary in shown
            ]
        )
        if self._wanted is not None and self._wanted in self._shown:
            self.query_one(Table).point(self._wanted)
            self._wanted = None
        self.set_class(sessions is not None and not shown, "-empty")
        if sessions is not None and not shown:
            self._show_empty(filtered=bool(sessions))
        elif self.focused is None:
            # A table that was hidden has lost it.
            self.query_one(Table).focus()
        stalled = stall_words(sessions or ())
        self.set_class(bool(stalled), "-stalled")
        self.query_one("#stalled", Line).say(ink(f"! {stalled}" if stalled else "", TIGHT))
        self._show_detail()
        self.refresh_bindings()

    def _show_empty(self, *, filtered: bool) -> None:
        if filtered:
            self.query_one(Empty).show("No session matches.", ("Esc", "shows all again"))
            return
        keys = [("n", "puts a new run together")] if place("model") is not None else []
        where = one_line(str(self.bench.root))
        about = f"No session yet in {where}. Each run that you train appears here."
        about += "\nIn a shell: tui-lora train --preset quickstart"
        self.query_one(Empty).show(about, *keys, ("?", "which keys do what"))

    def _show_detail(self) -> None:
        """Model and dataset of the row under the cursor, or what is wrong with it.

        Above that its name, where the table has no room for it, and what it was branched from.
        """
        summary, table = self._pointed(), self.query_one(Table)
        detail = self.query_one("#detail", Block)
        if summary is None:
            detail.say([])
            return
        name = one_line(summary.name)
        what = of_what(summary, detail.content_size.width)
        if summary.refused and not summary.status.alive:
            what = ink(f"! not started at its turn: {summary.refused}", TIGHT)
        if summary.problem:
            what = ink(f"✗ run.yaml: {summary.problem}", WRONG)
        above = [ink(name)] if len(name) > table.room(table.size.width) else []
        above += [dim(summary.parent.words)] if summary.parent is not None else []
        detail.say([Content("   ").join(above), what])

    def _pointed(self) -> Summary | None:
        return self._shown.get(self.query_one(Table).pointed or "")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached or not self.query(Table):
            return True
        summary = self._pointed()
        if action == "new":
            return place("model") is not None
        if action == "resume":
            return summary is not None and summary.status.resumable and not summary.problem
        if action == "compare" and not self._marked and len(self._shown) < 2:
            return False
        if action in ("mark", "overlay"):
            return summary is not None
        if action in ("duplicate", "compare"):
            return summary is not None and not summary.problem
        if action == "delete":
            return summary is not None and not summary.status.alive
        if action == "queue":
            waits = summary is not None and summary.turn is not None
            return waits or self.check_action("resume", ())
        if action == "earlier":
            return summary is not None and summary.turn is not None
        if action == "start_queue":
            known = self.bench.sessions or ()
            turns = [summary.turn for summary in known if summary.turn is not None]
            free = not any(summary.status.alive for summary in known)
            return any(free or turn.stalled for turn in turns)
        if action == "filter":
            return bool(self.bench.sessions) and not isinstance(self.focused, Input)
        if action == "unfilter":
            return self.has_class("-filter")
        return True

    @on(Table.Pointed)
    def _moved(self) -> None:
        self._show_detail()
        self.refresh_bindings()

    @on(Table.Opened)
    def _opened(self) -> None:
        if (summary := self._pointed()) is not None:
            self.post_message(SessionChosen(SessionPaths(summary.folder), go="train"))

    def action_new(self) -> None:
        self.bench.go("model")

    def action_resume(self) -> None:
        if (summary := self._pointed()) is not None:
            self.resume_run(SessionPaths(summary.folder))

    def action_queue(self) -> None:
        """Let it wait for its turn; one that waits does so no more."""
        if (summary := self._pointed()) is None:
            return
        if summary.turn is not None:
            queueing.take_out(self, summary.name)
        elif any(known.status.alive for known in self.bench.sessions or ()):
            queueing.put_in(self, SessionPaths(summary.folder))
        else:
            # It is likely to start at once.
            before_a_run(self, lambda: queueing.put_in(self, SessionPaths(summary.folder)))

    def action_earlier(self, by: int) -> None:
        if (summary := self._pointed()) is not None:
            queueing.move(self, summary.name, by)

    def action_start_queue(self) -> None:
        before_a_run(self, lambda: queueing.start(self))

    def action_duplicate(self) -> None:
        if (summary := self._pointed()) is not None:
            self._duplicate(SessionPaths(summary.folder))

    def action_compare(self) -> None:
        """Mark a session; with one marked, lay this one beside it."""
        if (summary := self._pointed()) is None:
            return
        # The first may be one that the filter does not show now.
        known = self.bench.sessions or ()
        first = next((one for one in known if one.name == self._marked), None)
        if first is None:
            self._mark(summary.name)
            self.say(f"{summary.name} is marked; c on another lays the two side by side.")
        elif first.name == summary.name:
            self._mark("")
        else:
            from tui_lora.ui.screens.compare import compare_sessions

            self._mark("")
            self.app.push_screen(
                compare_sessions(SessionPaths(first.folder), SessionPaths(summary.folder))
            )

    def action_mark(self) -> None:
        if (summary := self._pointed()) is None:
            return
        if summary.name in self._together:
            self._together.remove(summary.name)
        else:
            self._together.append(summary.name)
        self._show(self.bench.sessions)
        if self._together:
            self.say(f"{len(self._together)} marked; o lays their curves over each other.")
        else:
            self.hush()

    def action_overlay(self) -> None:
        from tui_lora.core.overlaid import MOST_RUNS
        from tui_lora.ui.screens.overlay import OverlayScreen

        known = {summary.name for summary in self.bench.sessions or ()}
        here = self._pointed()
        names = [name for name in self._together if name in known]
        names = names or ([here.name] if here is not None else [])
        if len(names) > MOST_RUNS:
            self.say(f"at most {MOST_RUNS} runs can be laid over each other.", "warning")
        elif names:
            self.app.push_screen(OverlayScreen(self.bench.root, names))

    def _mark(self, name: str) -> None:
        self._marked = name
        self.hush()
        self._show(self.bench.sessions)

    def action_delete(self) -> None:
        if (summary := self._pointed()) is None:
            return
        paths = SessionPaths(summary.folder)
        question = Question(
            f"Delete {summary.name}?",
            "Its log, checkpoints, adapter and everything else in its folder go for good.",
            "delete it",
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self._delete(paths)

        self.app.push_screen(question, answered)

    def action_filter(self) -> None:
        self.add_class("-filter")
        self.query_one("#filter", Input).focus()
        self.refresh_bindings()

    def action_unfilter(self) -> None:
        self.remove_class("-filter")
        self.query_one("#filter", Input).value = ""
        self.query_one(Table).focus()
        self.refresh_bindings()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show(self.bench.sessions)

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one(Table).focus()

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _duplicate(self, paths: SessionPaths) -> None:
        from tui_lora.store.runs import duplicate

        copy = duplicate(self.bench.root, paths)
        self._wanted = copy.name
        self.post_message(Said(f"{copy.name} is a draft like {paths.name}; r starts it.", "good"))

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _delete(self, paths: SessionPaths) -> None:
        from tui_lora.store.sessions import delete

        delete(self.bench.root, paths)
        if self.bench.session == paths:
            self.post_message(SessionChosen(None))
        self.post_message(Said(f"{paths.name} is deleted.", "good"))
