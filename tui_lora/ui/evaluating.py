"""What the Results page does about evaluations: begins one, follows it, shows what it found.

One is measured at a time, and goes on while the viewer lives, whatever screen is shown.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.timer import Timer

from tui_lora.core.text import one_line
from tui_lora.ui.evaluate_link import (
    EvaluateLink,
    EvaluationChanged,
    EvaluationOver,
    evaluate_link_of,
)
from tui_lora.ui.talking import TalkingPage
from tui_lora.ui.widgets.line import Lines

if TYPE_CHECKING:
    from tui_lora.core.evaluation import Evaluation
    from tui_lora.store.evaluations import Kept, Unfinished
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.evaluate_facts import Chosen
    from tui_lora.ui.state import RunNow

EVALUATE = ("v", "measure what it has by now against the base")
"""The key, where nothing else can be shown yet."""


class EvaluationsRead(Message, bubble=False):
    """What a session has in its evaluations/; `steps` are the adapters that can be measured."""

    def __init__(
        self,
        paths: SessionPaths,
        kept: tuple[Kept, ...],
        left: Unfinished | None,
        steps: tuple[int | None, ...],
    ) -> None:
        self.paths, self.kept, self.left, self.steps = paths, kept, left, steps
        super().__init__()


class Dropped(Message, bubble=False):
    """What an evaluation that did not end had measured is deleted."""

    def __init__(self, paths: SessionPaths) -> None:
        self.paths = paths
        super().__init__()


class EvaluatingPage(TalkingPage):
    """`evaluations_changed` is called when others are shown."""

    BINDINGS = [
        Binding("v", "evaluate", "evaluate", id="results.evaluate",
                tooltip="measure base against tuned: perplexity, answers, what was forgotten"),
        Binding("b", "rows", "by row", id="results.rows",
                tooltip="the rows that improved and worsened most"),
        Binding("e", "evaluations", "past ones", id="results.evaluations",
                tooltip="evaluations that are kept: choose one, compare two"),
        Binding("c", "cancel", "cancel", id="results.cancel",
                tooltip="cancel the evaluation; what was measured is kept"),
        Binding("x", "drop", "drop", id="results.drop",
                tooltip="delete what an evaluation that did not end had measured (asks first)"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._found: EvaluationsRead | None = None
        self._which: Kept | None = None
        self._so_far: Evaluation | None = None
        """What the one that was cancelled had found, until another is shown."""
        self._seconds: Timer | None = None
        self._was_alive = False

    @property
    def evaluating(self) -> EvaluateLink:
        return evaluate_link_of(self.app)

    @property
    def evaluation(self) -> Kept | None:
        """The evaluation that is shown; None where none is kept, or that is one without end."""
        return self._which if self._so_far is None else None

    @property
    def has_figures(self) -> bool:
        return self._which is not None or self._so_far is not None

    def compose_evaluation(self) -> ComposeResult:
        yield Lines(id="evaluation")
        yield Lines(id="taken")

    def compose_its_choices(self) -> ComposeResult:
        yield Lines(id="chosen-for-it")

    def compose_progress(self) -> ComposeResult:
        yield Lines(id="evaluating")

    def on_mount(self) -> None:
        self.evaluating.tell(self)
        self.follow("run_now", self._run_changed)
        self._seconds = self.set_interval(1.0, self._show_progress, pause=True)
        self._evaluating_changed()

    def on_unmount(self) -> None:
        self.evaluating.forget(self)

    def _run_changed(self, run: RunNow | None) -> None:
        """A run that has ended saved another adapter."""
        alive = run is not None and run.status.alive
        if run is not None and self._was_alive and not alive:
            self.read_evaluations(run.paths)
        self._was_alive = alive

    def evaluations_changed(self) -> None:
        """Others are shown, or none."""

    # What is kept.

    def read_evaluations(self, paths: SessionPaths) -> None:
        if self._found is not None and self._found.paths != paths:
            self._found, self._which, self._so_far = None, None, None
        self._read_evaluations(paths)

    @work(thread=True, exclusive=True, exit_on_error=False, group="evaluations")
    def _read_evaluations(self, paths: SessionPaths) -> None:
        from tui_lora.store import evaluations
        from tui_lora.store.checkpoints import checkpoints
        from tui_lora.store.sessions import adapter_bytes

        steps: list[int | None] = [one.step for one in reversed(checkpoints(paths.checkpoints))]
        if adapter_bytes(paths.adapter) is not None:
            steps.insert(0, None)
        found = tuple(evaluations.listed(paths))
        left = evaluations.unfinished(paths)
        self.post_message(EvaluationsRead(paths, found, left, tuple(steps)))

    @on(EvaluationsRead)
    def _evaluations_read(self, fact: EvaluationsRead) -> None:
        if fact.paths != self.bench.session:
            return
        known = {kept.path for kept in self._found.kept} if self._found is not None else set()
        new = [kept for kept in fact.kept if kept.path not in known]
        before = self._which.path if self._which is not None and not new else None
        # Read anew: the adapter may have become an earlier one.
        same = (kept for kept in fact.kept if kept.path == before)
        self._which = next(same, next(iter(fact.kept), None))
        if new:
            self._so_far = None
        self._found = fact
        self.evaluations_changed()
        self.refresh_bindings()

    def draw_evaluation(self, width: int) -> None:
        """The rows of the evaluation that is shown, in `width` cells."""
        from tui_lora.ui import evaluation_text

        kept, known = self._which, self._found
        rows: dict[str, list[Content]] = {"evaluation": [], "taken": [], "chosen-for-it": []}
        if known is not None:
            left = known.left if not self.evaluating.now.alive else None
            rows["evaluation"] = evaluation_text.begin_rows(left, any_adapter=bool(known.steps))
        if known is not None and self._so_far is not None:
            rows["evaluation"] += evaluation_text.evaluation_rows(self._so_far, "", width)
            rows["taken"] = evaluation_text.taken_rows(self._so_far, width)
        elif known is not None and kept is not None:
            found, paths = kept.evaluation, [one.path for one in known.kept]
            at = paths.index(kept.path) + 1 if kept.path in paths else 0
            place = f"{at:,} of {len(paths):,}" if len(paths) > 1 and at else ""
            left_rows = rows["evaluation"] if known.left is not None else []
            rows["evaluation"] = [
                *left_rows,
                *evaluation_text.evaluation_rows(found, place, width, earlier=kept.earlier),
            ]
            rows["taken"] = evaluation_text.taken_rows(found, width)
            rows["chosen-for-it"] = evaluation_text.choice_rows(found, width)
        for id, said in rows.items():
            lines = self.query_one(f"#{id}", Lines)
            lines.display = bool(said)
            lines.say(*said)

    # What is measured now.

    @on(EvaluationChanged)
    def _evaluating_changed(self) -> None:
        alive = self.evaluating.now.alive
        self.set_class(alive, "-evaluating")
        if self._seconds is not None:
            if alive and self.is_current:
                self._seconds.resume()
            else:
                self._seconds.pause()
        self._show_progress()
        self.refresh_bindings()

    def on_screen_resume(self) -> None:
        self._evaluating_changed()

    def on_screen_suspend(self) -> None:
        if self._seconds is not None:
            self._seconds.pause()

    def _show_progress(self) -> None:
        from tui_lora.ui.evaluating_text import progress_rows

        now, width = self.evaluating.now, max(40, self.size.width - 2)
        if self.is_current or not now.alive:
            self.query_one("#evaluating", Lines).say(*progress_rows(now, time.monotonic(), width))

    @on(EvaluationOver)
    def _evaluation_over(self, fact: EvaluationOver) -> None:
        from tui_lora.ui.messages import Said

        name = one_line(fact.paths.name)
        if fact.ended is None:
            self.post_message(Said(f"{name}: {fact.problem} {fact.then}".strip(), "error"))
        elif fact.ended.evaluation.complete:
            self.post_message(Said(f"{name} is measured: kept in evaluations/.", "good"))
        else:
            words = f"{name}: cancelled; v goes on from what was measured."
            self.post_message(Said(words, "warning"))
            if fact.paths == self.bench.session:
                self._so_far = fact.ended.evaluation
        if fact.paths == self.bench.session:
            self.read_evaluations(fact.paths)

    # Intents.

    def can_evaluate(self, action: str) -> bool:
        found, alive = self._found, self.evaluating.now.alive
        if action == "cancel":
            return alive
        if action == "evaluate":
            return found is not None and bool(found.steps) and not alive
        if action == "drop":
            return found is not None and found.left is not None and not alive
        if action == "rows":
            return self.evaluation is not None
        return found is not None and bool(found.kept)

    def action_evaluate(self) -> None:
        from tui_lora.store.evaluation_order import Wanted
        from tui_lora.ui.evaluate_facts import wanted_again
        from tui_lora.ui.screens.evaluate import EvaluateForm

        run, found = self.bench.run_now, self._found
        if run is None or found is None or found.paths != run.paths:
            return
        left = found.left
        wanted = Wanted(checkpoint=found.steps[0])
        if run.task == "classification":
            wanted = Wanted(checkpoint=found.steps[0], parts=("eval", "train"))
        if left is not None and left.asked is not None and left.asked.step in found.steps:
            wanted = wanted_again(left.asked, run.spec)
        earlier = [kept.evaluation for kept in found.kept]
        held = dict(self.link.state.held)
        form = EvaluateForm(run, wanted, found.steps, left, earlier, held)
        self.app.push_screen(form, lambda chosen: self._begin(run.paths, chosen))

    def _begin(self, paths: SessionPaths, chosen: Chosen | None) -> None:
        if chosen is None or self.evaluating.now.alive:
            return
        if chosen.closes_chat:
            self.link.close()
            self.say("the chat was put away.")
        self._so_far = None
        self.evaluations_changed()
        self.evaluating.begin(paths, chosen.asked, chosen.room.fit)

    def action_cancel(self) -> None:
        self.evaluating.cancel()

    def action_drop(self) -> None:
        from tui_lora.ui.evaluating_text import unfinished_words
        from tui_lora.ui.screens.question import Question

        found = self._found
        if found is None or (left := found.left) is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._drop(found.paths, left)

        detail = f"{unfinished_words(left)}. They are measured anew if they are asked for again."
        self.app.push_screen(Question("Drop this evaluation?", detail, "drop it"), answered)

    @work(thread=True, exit_on_error=False, group="drop")
    def _drop(self, paths: SessionPaths, left: Unfinished) -> None:
        from tui_lora.store.evaluations import drop

        drop(left)
        self.post_message(Dropped(paths))

    @on(Dropped)
    def _dropped(self, fact: Dropped) -> None:
        if fact.paths == self.bench.session:
            self._so_far = None
            self.read_evaluations(fact.paths)

    def action_rows(self) -> None:
        from tui_lora.ui.screens.evaluated_rows import EvaluatedRowsScreen

        if self.evaluation is not None:
            self.app.push_screen(EvaluatedRowsScreen(self.evaluation))

    def action_evaluations(self) -> None:
        from tui_lora.ui.screens.evaluations import EvaluationsScreen

        if self._found is None:
            return

        def chosen(kept: Kept | None) -> None:
            if kept is not None:
                self._which, self._so_far = kept, None
                self.evaluations_changed()

        self.app.push_screen(EvaluationsScreen(self._found.kept, self.evaluation), chosen)
