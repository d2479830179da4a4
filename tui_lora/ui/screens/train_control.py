"""The keys that steer a run: each gives an order, and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from tui_lora.ui.messages import Said
from tui_lora.ui.page import Page
from tui_lora.ui.screens.question import Question
from tui_lora.ui.widgets.line import Line

if TYPE_CHECKING:
    from tui_lora.core.extension import Extension
    from tui_lora.core.orders import Order
    from tui_lora.store.ladder import Ladder, Rung
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.state import RunNow

ASK_AGAIN_S = 6.0


def _key(key: str, action: str, name: str, tip: str) -> Binding:
    return Binding(key, action, name, id=f"train.{action}", tooltip=tip)


class Climbed:
    """How far up the ladder anybody went for one order; `signalled` is the last rung that this
    viewer took itself."""

    def __init__(self) -> None:
        self.ladder: Ladder | None = None
        self.signalled: Rung | None = None

    def take(self, higher: Ladder) -> None:
        self.ladder, self.signalled = higher, higher.rung

    def follow(self, run: RunNow | None) -> Ladder | None:
        """The ladder of what is asked now, with what any viewer sent."""
        # Its orders come with pydantic; the first frame does without.
        from tui_lora.store.ladder import begun

        found = begun(run.asked, run.signals) if run is not None and run.status.alive else None
        mine = self.ladder
        if found is None or mine is None or found.order.id != mine.order.id:
            self.signalled = None
        elif mine.since > found.since:
            # What was sent just now has not come back from the disk yet.
            found = mine
        self.ladder = found
        return found


class ControlledRun(Page):
    """A page whose `#control` row says what is asked of the run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        _key("p", "pause", "pause", "checkpoint, end, free the card; r goes on"),
        _key("h", "hold", "hold", "finish the step and wait, with everything loaded"),
        _key("h", "go_on", "go on", "train on after the hold"),
        _key("s", "stop", "stop", "finish the step, save, end; can be resumed"),
        _key("c", "checkpoint", "checkpoint", "save a checkpoint now"),
        _key("r", "resume", "resume", "go on from the last checkpoint"),
        _key("e", "extend", "extend", "more epochs or steps, with what the rate does then"),
        _key("i", "intervals", "intervals", "how often it reports, measures, saves; what is kept"),
        _key("x", "discard", "discard", "end it at once and save nothing (asks first)"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[str, str] = {}
        self._mine: set[str] = set()
        self._sure: tuple[str, float] = ("", 0.0)
        self._climbed = Climbed()

    def show_control(self, run: RunNow) -> bool:
        """Draw the row, and tell what was answered; whether it changes with the clock."""
        from tui_lora.ui import control_text

        ladder = self._climbed.follow(run)
        width = max(40, self.size.width - 2)
        mine = self._mine
        if ladder is not None and ladder.rung is self._climbed.signalled:
            mine = mine | {control_text.SIGNAL}
        row = control_text.control_row(run, ladder, mine, time.time(), width)
        line = self.query_one("#control", Line)
        line.display = bool(row.plain)
        line.say(row)
        for id, what in list(self._asked.items()):
            if (answer := run.view.answers.get(id)) is not None:
                del self._asked[id]
                said = answer.message if answer.ok else f"{what}: {answer.message}"
                self.say(said, "good" if answer.ok else "warning")
        return ladder is not None or (run.status.alive and bool(run.asked))

    def forget_orders(self) -> None:
        """Another session was chosen."""
        self._asked.clear()
        self._mine.clear()
        self._sure = ("", 0.0)
        self._climbed = Climbed()
        self.query_one("#control", Line).display = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        run = self.bench.run_now if self.is_attached else None
        alive = run is not None and run.status.alive
        if action in ("pause", "stop", "checkpoint", "discard"):
            return alive
        if action in ("hold", "go_on"):
            held = run is not None and run.status == "holding"
            return alive and held == (action == "go_on")
        if action == "intervals":
            return alive and run is not None and run.spec is not None
        if action == "extend":
            return run is not None and _can_be_longer(run)
        if action == "resume":
            return run is not None and run.status.resumable and not run.problem
        return True

    # What ends the run.

    def action_stop(self) -> None:
        from tui_lora.core.orders import Stop

        if not self._climb(Stop):
            text = "s again stops after this step; it is saved and can be resumed."
            if self._are_you_sure("stop", text):
                self._order(Stop)

    def action_pause(self) -> None:
        from tui_lora.core.orders import Pause

        if not self._climb(Pause, only_say=True):
            text = "p again pauses: checkpoint, end, the card is free; r goes on from there."
            if self._are_you_sure("pause", text):
                self._order(Pause)

    def action_discard(self) -> None:
        from tui_lora.core.control_words import lost_words
        from tui_lora.core.orders import Discard

        run = self.bench.run_now
        if run is None or (self._discarding() and self._climb(Discard)):
            return
        name = run.paths.name
        question = Question(
            f"End {name} at once, and save nothing?", lost_words(run.view), "end it", "train on"
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self._order(Discard)

        self.app.push_screen(question, answered)

    def _discarding(self) -> bool:
        from tui_lora.core.orders import Discard

        ladder = self._climbed.follow(self.bench.run_now)
        return ladder is not None and isinstance(ladder.order, Discard)

    def _are_you_sure(self, what: str, text: str) -> bool:
        """Whether the key was pressed twice; says `text` at the first time."""
        before, at = self._sure
        if before == what and time.monotonic() - at <= ASK_AGAIN_S:
            self._sure = ("", 0.0)
            return True
        self._sure = (what, time.monotonic())
        self.say(text, "warning")
        return False

    def _climb(self, kind: type[Order], *, only_say: bool = False) -> bool:
        """Where that was asked for already: say so, or go a rung up once its time is over; whether
        it was. A stop takes a pause's place, and the other way round."""
        from tui_lora.core.control_words import ago, lost_words, ordered
        from tui_lora.core.orders import Discard
        from tui_lora.store.ladder import SIGNALS, Rung, patience

        run = self.bench.run_now
        ladder = self._climbed.follow(run)
        if run is None or ladder is None:
            return False
        now = time.time()
        left_s = ladder.until(run.view) - now
        same = ladder.rung is not Rung.ORDERED or isinstance(ladder.order, (kind, Discard))
        if not same and (left_s > 0 or only_say):
            return False
        if left_s > 0 or only_say or ladder.next is None:
            why = patience(run.view).why
            if ladder.rung is Rung.ORDERED:
                who = "" if ladder.order.id in self._mine else " in another viewer"
                done = f"{ordered(ladder.order)} was asked{who}"
            else:
                who = "" if ladder.rung is self._climbed.signalled else " from another viewer"
                done = f"{SIGNALS[ladder.rung].name} was sent{who}"
            when = ago(ladder.since if ladder.rung is not Rung.ORDERED else ladder.order.t, now)
            self.say(f"{done} {when} already; {why}.")
        elif ladder.next is Rung.KILLED:
            question = Question(
                f"Kill the worker of {run.paths.name}?",
                f"{lost_words(run.view)} What it is just writing stays half done and is not used.",
                "kill it",
                "wait on",
            )

            def answered(yes: bool | None) -> None:
                if yes:
                    self._go_up(ladder)

            self.app.push_screen(question, answered)
        else:
            self._go_up(ladder)
        return True

    @work(thread=True, exclusive=True, exit_on_error=False, group="order")
    def _go_up(self, ladder: Ladder) -> None:
        from tui_lora.store.ladder import SIGNALS, climb

        paths = self.bench.session
        if paths is None:
            return
        higher = climb(paths, ladder, time.time())
        self._climbed.take(higher)
        self.post_message(Said(f"{SIGNALS[higher.rung].name} was sent to the worker.", "warning"))
        self.app.call_from_thread(self._draw_control)

    def _draw_control(self) -> None:
        if (run := self.bench.run_now) is not None:
            self.show_control(run)

    # What goes on with the run.

    def action_checkpoint(self) -> None:
        from tui_lora.core.orders import SaveCheckpoint

        self._order(SaveCheckpoint)

    def action_hold(self) -> None:
        from tui_lora.core.orders import Hold

        self._order(Hold)

    def action_go_on(self) -> None:
        from tui_lora.core.orders import GoOn

        self._order(GoOn)

    def action_resume(self) -> None:
        if self.bench.session is not None:
            self.resume_run(self.bench.session)

    def action_extend(self) -> None:
        from tui_lora.ui.screens.extend import ExtendForm

        run = self.bench.run_now
        if run is None or not _can_be_longer(run):
            return

        def answered(found: Extension | None) -> None:
            if found is None:
                return
            # It may have ended while the dialog was open.
            now = self.bench.run_now
            if now is not None and now.status.alive:
                self._change(found.changes)
            else:
                self.resume_run(run.paths, found.changes, "made longer, as asked")

        self.app.push_screen(ExtendForm(run), answered)

    def action_intervals(self) -> None:
        from tui_lora.ui.screens.intervals import IntervalsForm

        run = self.bench.run_now
        if run is None or run.spec is None:
            return

        def answered(changes: dict[str, Any] | None) -> None:
            if changes:
                self._change(changes)

        self.app.push_screen(IntervalsForm(run.spec), answered)

    def _change(self, changes: Mapping[str, Any]) -> None:
        from tui_lora.core.orders import ChangeSpec

        self._order(ChangeSpec, changes=dict(changes))

    @work(thread=True, exclusive=True, exit_on_error=False, group="order")
    def _order(self, kind: type[Order], **fields: Any) -> None:
        from tui_lora.core.control_words import ordered
        from tui_lora.store.sessions import give

        paths: SessionPaths | None = self.bench.session
        if paths is None:
            return
        order = give(paths, kind, **fields)
        what = ordered(order)
        self._mine.add(order.id)
        self._asked[order.id] = what
        self.post_message(Said(f"{what}: asked; the worker answers after this step."))


def _can_be_longer(run: RunNow) -> bool:
    """Whether it is known how long the run is, and it can go on."""
    view = run.view
    if run.spec is None or run.problem or view.plan is None:
        return False
    return run.status.alive or bool(view.checkpoint_steps)
