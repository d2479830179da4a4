"""Train: a run while it learns. Layout and intents; the figures come from `ui/run_text.py`."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer

from tui_lora.ui.ink import dim
from tui_lora.ui.keymap import place
from tui_lora.ui.screens.train_control import ControlledRun
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.line import Block, Line, Lines
from tui_lora.ui.widgets.loss_plot import LossPlot

if TYPE_CHECKING:
    from tui_lora.core.out_of_memory import Mend
    from tui_lora.core.view import RunView
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.state import RunNow

LOG_ROWS = 200
WIDE_FROM = 110


class TrainScreen(ControlledRun):
    TITLE_WORD = "Train"
    CSS_PATH = "train.tcss"
    HELP = (
        "The chosen run as it learns. The worker belongs to no terminal: leave, lose the "
        "connection, come back, and nothing is missing here. Losses are mean cross-entropy a "
        "trained token, in nats; perplexity is e to that power. Tokens count without padding. Of a "
        "run on preferences the loss is that of the preference, and margin says how much more the "
        "chosen answers are rewarded than the rejected; m draws it, or what else the task has. "
        "Where memory ran out, a shows what makes it fit, and goes on with what is chosen."
    )
    BINDINGS = [
        Binding(
            "a", "mend", "what fits", id="train.mend", tooltip="what makes it fit, and goes on"
        ),
        Binding(
            "y",
            "log_scale",
            "log scale",
            False,
            id="train.log_scale",
            tooltip="losses on a log scale",
        ),
        Binding(
            "m", "curve", "curve", id="train.curve", tooltip="the loss, or another of its figures"
        ),
        Binding(
            "l", "log", "log", False, id="train.log", tooltip="the run's log in full, or the curve"
        ),
        Binding(
            "k",
            "checkpoints",
            "checkpoints",
            False,
            id="train.checkpoints",
            tooltip="pin, delete or talk to a checkpoint, or branch from it",
        ),
        Binding("t", "peek", "talk", id="train.peek", tooltip="what it says by now; ask it"),
        Binding("w", "save_curve", "save curve", False, id="train.save_curve",
                tooltip="a curve as a picture or a table"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._clock: Timer | None = None
        self._curve = "loss"

    def compose_body(self) -> ComposeResult:
        yield Empty(id="empty")
        yield Line(id="state")
        yield Line(id="control")
        yield Line(id="changes")
        yield Lines(id="verdict")
        with Horizontal(id="middle"):
            yield LossPlot(id="curve")
            yield Block(24, id="numbers")
        yield Block(3, id="short")
        with VerticalScroll(id="log"):
            yield Lines(id="log-lines")

    def on_mount(self) -> None:
        self.query_one("#log", VerticalScroll).can_focus = False
        self._clock = self.set_interval(1.0, self._tick, pause=True)
        self.follow("session", self._show_session)
        self.follow("run_now", self._show_run)
        self.follow("sensors", self._show_numbers)

    def on_screen_suspend(self) -> None:
        if self._clock is not None:
            self._clock.pause()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_run, self.bench.run_now)

    def _show_session(self, paths: SessionPaths | None) -> None:
        self.set_class(paths is None, "-empty")
        self.query_one(LossPlot).clear()
        self._curve = "loss"
        self.forget_orders()
        if paths is None:
            keys = [("1", "choose a session, or resume one")]
            if place("model") is not None:
                keys.append(("2", "put a new run together"))
            about = "Here you watch a run while it learns. No session is chosen."
            self.query_one(Empty).show(about, *keys)
        else:
            self.query_one("#state", Line).say(dim(f"reading {paths.name} …"))
            for block in self.query(Block):
                block.say([])
            self._show_verdict([])
            self._show_changes(Content(""))
            self.query_one("#log-lines", Lines).say()

    def _show_run(self, run: RunNow | None) -> None:
        self.refresh_bindings()
        if run is None:
            return
        # The run view's types come with pydantic; the first frame does without.
        from tui_lora.ui import run_text

        width = max(40, self.size.width - 2)
        self.query_one("#state", Line).say(run_text.state_row(run, width, time.time()))
        self._show_changes(run_text.changes_row(run))
        self._show_verdict(run_text.verdict_rows(run, _next_keys(run), width))
        self._show_numbers()
        view = run.view
        self._show_curve(view)
        self._show_log(run)
        moves = self.show_control(run)
        if self._clock is not None:
            if moves or (run.status.alive and view.phase is not None):
                self._clock.resume()
            else:
                self._clock.pause()

    def _show_numbers(self, _: object = None) -> None:
        """The run's figures, with what the card says by now."""
        run, sensors = self.bench.run_now, self.bench.sensors
        if run is None:
            return
        from tui_lora.ui import run_numbers

        if self.size.width >= WIDE_FROM:
            self.query_one("#numbers", Block).say(run_numbers.number_rows(run, sensors))
        else:
            width = max(40, self.size.width - 2)
            self.query_one("#short", Block).say(run_numbers.short_rows(run, width, sensors))

    def _show_curve(self, view: RunView) -> None:
        from tui_lora.ui.run_curves import curves

        there = curves(view)
        # A resumed run may not have got as far again.
        shown = next((one for one in there if one.name == self._curve), there[0])
        self.query_one(LossPlot).show(shown, view.total_steps)

    def _show_changes(self, row: Content) -> None:
        changes = self.query_one("#changes", Line)
        changes.display = bool(row.plain)
        changes.say(row)

    def _show_verdict(self, rows: list[Content]) -> None:
        verdict = self.query_one("#verdict", Lines)
        verdict.display = bool(rows)
        verdict.say(*rows)

    def _show_log(self, run: RunNow) -> None:
        from tui_lora.ui import run_text

        newest = list(reversed(run.view.log))[: LOG_ROWS if self._log_open else 12]
        width = self.query_one("#log-lines").size.width if self._log_open else None
        rows = [row for line in newest for row in run_text.log_rows(line, width or None)]
        self.query_one("#log-lines", Lines).say(*rows)

    def _tick(self) -> None:
        run = self.bench.run_now
        if run is not None:
            from tui_lora.ui import run_text

            width = max(40, self.size.width - 2)
            self.query_one("#state", Line).say(run_text.state_row(run, width, time.time()))
            self.show_control(run)

    @property
    def _log_open(self) -> bool:
        return self.has_class("-log")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        run = self.bench.run_now if self.is_attached else None
        if action == "mend":
            return run is not None and run.status == "out of memory" and run.spec is not None
        if action == "curve":
            view = run.view if run is not None else None
            return view is not None and bool(view.step_metrics or view.eval_metrics)
        if action == "log_scale":
            return run is not None and self._curve == "loss"
        if action in ("log", "peek", "save_curve"):
            return run is not None
        if action == "checkpoints":
            return run is not None and bool(run.view.checkpoint_steps)
        return super().check_action(action, parameters)

    def action_log_scale(self) -> None:
        self.query_one(LossPlot).toggle_log_scale()

    def action_save_curve(self) -> None:
        from tui_lora.ui.result_files import choose_and_save, curves_to_save

        if (run := self.bench.run_now) is not None:
            choose_and_save(self, curves_to_save(run), run.paths)

    def action_curve(self) -> None:
        run = self.bench.run_now
        if run is None:
            return
        from tui_lora.ui.run_curves import curves

        names = [curve.name for curve in curves(run.view)]
        at = names.index(self._curve) if self._curve in names else 0
        self._curve = names[(at + 1) % len(names)]
        self._show_curve(run.view)
        self.refresh_bindings()

    def action_log(self) -> None:
        self.toggle_class("-log")
        log = self.query_one("#log", VerticalScroll)
        log.can_focus = self._log_open
        if self._log_open:
            log.focus()
        else:
            self.set_focus(None)
        if self.bench.run_now is not None:
            # How wide its rows are is known once it is laid out.
            self.call_after_refresh(self._show_log, self.bench.run_now)

    def action_checkpoints(self) -> None:
        from tui_lora.ui.branching import show_checkpoints

        show_checkpoints(self)

    def action_peek(self) -> None:
        from tui_lora.ui.screens.peek import PeekScreen

        self.app.push_screen(PeekScreen())

    def action_mend(self) -> None:
        """What makes it fit; what is chosen goes on from the last checkpoint, or begins anew."""
        from tui_lora.store.sessions import free_name
        from tui_lora.ui.row_lengths import row_lengths
        from tui_lora.ui.screens.out_of_memory import MendList, card_of

        run, bench = self.bench.run_now, self.bench
        if run is None or run.spec is None:
            return
        mends = MendList(
            run,
            bench.root,
            bench.inspector,
            card=card_of(run, bench.sensors),
            lengths=row_lengths(bench.inspector.lengths, run.spec),
            like=free_name(bench.root, run.paths.name),
        )
        self.app.push_screen(mends, partial(self._go_on_with, run))

    def _go_on_with(self, run: RunNow, mend: Mend | None) -> None:
        if mend is None or run.spec is None:
            return
        if mend.resumes:
            self.resume_run(run.paths, mend.changes, f"memory ran out: {mend.title}")
            return
        from tui_lora.store.sessions import free_name
        from tui_lora.store.spec_now import with_changes

        name = free_name(self.bench.root, run.paths.name)
        self.begin_run(name, with_changes(run.spec, mend.changes))


def _next_keys(run: RunNow) -> list[tuple[str, str]]:
    """Where a finished run leads, as far as those screens exist."""
    keys: list[tuple[str, str]] = []
    if run.view.adapter is not None:
        talk = "predict" if run.task == "classification" else "talk to it"
        keys += [("6", talk)] if place("chat") is not None else []
        keys += [("7", "before and after")] if place("results") is not None else []
    return keys
