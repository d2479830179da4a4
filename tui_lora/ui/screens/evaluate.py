"""What is to be measured, what that takes and whether there is room: a form over Results."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input

from tui_lora.core.chat_memory import Place
from tui_lora.core.errors import UserError
from tui_lora.core.evaluation import Evaluation
from tui_lora.core.text import one_line
from tui_lora.store.evaluation_order import Wanted
from tui_lora.store.evaluations import Unfinished
from tui_lora.ui.evaluate_facts import (
    Chosen,
    MetricsLooked,
    OrderMade,
    RoomLooked,
    look_at_metrics,
    look_for,
    make_order,
)
from tui_lora.ui.evaluate_fields import choices, fields_of, shown, value_of, with_choice, with_typed
from tui_lora.ui.evaluating_text import needs_row, room_row, unfinished_words
from tui_lora.ui.ink import ACCENT, DIM, STRONG, TIGHT, WRONG, dim, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.state import RunNow
from tui_lora.ui.widgets.line import Line, Lines

HELP_ROWS = 2


class ChoiceRow(Line, can_focus=True):
    """A value out of a few; left and right change it."""

    BINDINGS = [
        Binding("left", "screen.change(-1)", "other", False, id="evaluate.before",
                tooltip="the value before"),
        Binding("right,space", "screen.change(1)", "other", False, id="evaluate.after",
                tooltip="the next value"),
        Binding("enter", "screen.begin", "begin", False, id="evaluate.begin", tooltip="begin"),
    ]  # fmt: skip


class EvaluateForm(Panel[Chosen | None]):
    """Arrows move, Enter begins, Esc leaves. `steps` are the adapters there are, None the session's
    own; `held` is what the chat would give back."""

    BINDINGS = [
        Binding("up,shift+tab", "move(-1)", "up", id="evaluate.up", tooltip="one field up"),
        Binding("down,tab", "move(1)", "down", id="evaluate.down", tooltip="one field down"),
        Binding("escape", "leave", "leave", id="evaluate.leave", tooltip="measure nothing"),
    ]
    DEFAULT_CSS = """
    EvaluateForm .row { height: 1; width: 100%; }
    EvaluateForm .label { width: 16; }
    EvaluateForm #form-help { height: 2; }
    EvaluateForm #room { height: 2; }
    """
    CSS = """
    EvaluateForm Input { background: $panel; }
    EvaluateForm Input:focus, EvaluateForm ChoiceRow:focus { background: $cursor; }
    """

    def __init__(
        self,
        run: RunNow,
        wanted: Wanted,
        steps: Sequence[int | None],
        left: Unfinished | None,
        earlier: Sequence[Evaluation],
        held: Mapping[Place, float],
    ) -> None:
        super().__init__()
        self._run, self._wanted, self._steps = run, wanted, tuple(steps)
        self._left, self._earlier, self._held = left, list(earlier), held
        self._fields = fields_of(run.task, left=left is not None)
        self._wrong: dict[str, str] = {}
        self._found: RoomLooked | None = None
        self._metrics: MetricsLooked | None = None
        self._sure: Wanted | None = None
        """What Enter was pressed on though it was not sure that it fits."""
        self._said = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="about")
            for field in self._fields:
                with Horizontal(classes="row"):
                    yield Line(classes="label", id=f"label-{field.name}")
                    if field.typed:
                        yield Input(id=field.name, compact=True, select_on_focus=False)
                    else:
                        yield ChoiceRow(id=field.name)
            yield Lines(id="form-help")
            yield Line(id="needs")
            yield Lines(id="room")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        name = one_line(self._run.paths.name, max_chars=40)
        about = join(ink("measure", STRONG), dim(f" {name} against its base, row by row"))
        self.query_one("#about", Line).say(about)
        with self.prevent(Input.Changed):
            for field in self._fields:
                if field.typed:
                    self.query_one(f"#{field.name}", Input).value = self._shown(field.name)
        self.query_one(f"#{self._fields[0].name}").focus()
        self._look_at_metrics()
        self._look_for_room()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def on_descendant_focus(self) -> None:
        self._said = ""
        self._draw()

    # Looking.

    def _look_for_room(self) -> None:
        self._found = None
        self._look(self._wanted)
        self._draw()

    @work(thread=True, exclusive=True, exit_on_error=False, group="room")
    def _look(self, wanted: Wanted) -> None:
        self.post_message(look_for(self._run.paths, wanted, self._held))

    @on(RoomLooked)
    def _looked(self, fact: RoomLooked) -> None:
        if _where(fact.wanted) == _where(self._wanted):
            self._found = fact
            self._draw()

    @work(thread=True, exclusive=True, exit_on_error=False, group="metrics")
    def _look_at_metrics(self) -> None:
        if self._run.spec is not None:
            self.post_message(look_at_metrics(self._run.paths, self._run.spec))

    @on(MetricsLooked)
    def _metrics_looked(self, fact: MetricsLooked) -> None:
        self._metrics = fact
        for field in self.query("#metrics").results(Input):
            field.placeholder = f"{fact.words}: {fact.why}"
        self._draw()

    # Changing.

    def _shown(self, name: str) -> str:
        spec, step = self._run.spec, self._run.view.step or None
        own = {}
        if spec is not None:
            own = {"devices": spec.hardware.devices, "quantization": spec.quantization.scheme}
        return shown(name, self._wanted, own, step)

    def action_change(self, by: int) -> None:
        name = self.focused.id if self.focused is not None else None
        if name is None:
            return
        there = choices(name, self._wanted, self._steps, self._run.task)
        now = value_of(name, self._wanted)
        at = there.index(now) + by if now in there else 0
        self._wanted = with_choice(name, self._wanted, there[at % len(there)])
        self._said = ""
        if name in ("checkpoint", "devices", "quantization"):
            self._look_for_room()
        else:
            self._draw()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        name = event.input.id or ""
        try:
            self._wanted = with_typed(name, self._wanted, event.value)
        except UserError as error:
            self._wrong[name] = f"{error.what} {error.then or ''}".strip()
        else:
            self._wrong.pop(name, None)
        self._said = ""
        self._draw()

    def action_move(self, step: int) -> None:
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_leave(self) -> None:
        self.dismiss(None)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_begin()

    def action_begin(self) -> None:
        """Only where there is room; where that is not sure, once more."""
        if self._wrong:
            self.query_one(f"#{next(iter(self._wrong))}").focus()
            return
        found = self._found
        if found is None:
            self._say("one moment: it is being looked at whether there is room.")
        elif found.room is None:
            self._say("so it cannot be measured:")
        elif found.room.fit.verdict == "does_not_fit":
            self._say("there is no room for it: choose another device or a smaller base.")
        elif self._asks(found) and self._sure != self._wanted:
            self._sure = self._wanted
            self._say("a training could come to harm; Enter once more measures all the same.")
        else:
            self._make(self._wanted, found)

    @staticmethod
    def _asks(found: RoomLooked) -> bool:
        assert found.room is not None
        return bool(found.room.fit.beside) and found.room.fit.verdict != "fits"

    @work(thread=True, exclusive=True, exit_on_error=False, group="order")
    def _make(self, wanted: Wanted, found: RoomLooked) -> None:
        self.post_message(make_order(self._run.paths, wanted, found))

    @on(OrderMade)
    def _made(self, fact: OrderMade) -> None:
        if fact.chosen is not None:
            self.dismiss(fact.chosen)
        else:
            self._say(fact.problem)

    def _say(self, words: str) -> None:
        self._said = words
        self._draw()

    # Drawing.

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        focused = self.focused.id if self.focused is not None else ""
        for field in self._fields:
            look = ACCENT if focused == field.name else DIM
            look = WRONG if field.name in self._wrong else look
            self.query_one(f"#label-{field.name}", Line).say(ink(field.label, look))
            if not field.typed:
                told = (self._shown(field.name), STRONG)
                row = join(("‹ ", DIM), told, (" ›", DIM))
                if field.name == "earlier" and self._left is not None:
                    row = join(row, dim(f"  {unfinished_words(self._left)}"))
                self.query_one(f"#{field.name}", ChoiceRow).say(row)
        width = max(40, self.app.size.width - 8)
        self.query_one("#form-help", Lines).say(*self._help(focused or "", width))
        self.query_one("#needs", Line).say(self._needs())
        self.query_one("#room", Lines).say(*self._room(width))
        typed = any(field.typed and field.name == focused for field in self._fields)
        keys = [("Enter", "begins"), ("↑↓", "moves"), ("Esc", "leaves")]
        keys.insert(1, ("type", "a value") if typed else ("←→", "changes"))
        foot = self.query_one("#form-keys", Line)
        foot.say(keys_row(keys, foot.size.width))

    def _help(self, name: str, width: int) -> list[Content]:
        if self._said:
            return _wrapped(f"! {self._said}", TIGHT, width)
        if name in self._wrong:
            return _wrapped(f"✗ {self._wrong[name]}", WRONG, width)
        field = next((one for one in self._fields if one.name == name), None)
        return _wrapped(field.help if field is not None else "", DIM, width)

    def _needs(self) -> Content:
        place = self._found.room.fit.place if self._found and self._found.room else None
        answered = self._wanted.metrics
        if answered is None and self._metrics is not None:
            answered = None if self._metrics.answered else ()
        view = self._run.view
        none = view.plan is not None and not view.plan.eval_rows
        if none and self._wanted.data is None and "eval" in self._wanted.parts:
            return ink("no rows were held out: only those that were trained on", TIGHT)
        return needs_row(self._run.view, self._wanted, answered, self._earlier, place)

    def _room(self, width: int) -> list[Content]:
        if self._found is None:
            return [dim("looking for room …")]
        if self._found.room is None:
            return _wrapped(f"✗ {self._found.problem}", WRONG, width)
        words, look = room_row(self._found.room.fit, closes_chat=self._found.closes_chat)
        return _wrapped(words, look, width)


def _where(wanted: Wanted) -> Wanted:
    """What decides whether there is room."""
    return replace(
        Wanted(),
        checkpoint=wanted.checkpoint,
        devices=wanted.devices,
        quantization=wanted.quantization,
    )


def _wrapped(text: str, look: str, width: int) -> list[Content]:
    rows = textwrap.wrap(one_line(text), width)
    if len(rows) > HELP_ROWS:
        rows = [*rows[: HELP_ROWS - 1], f"{rows[HELP_ROWS - 1]} …"]
    return [ink(row, look) for row in rows]
