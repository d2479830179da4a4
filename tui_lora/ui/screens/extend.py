"""A run made longer: epochs or steps, and what it does to the learning rate before it is done."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from tui_lora.core.errors import UserError
from tui_lora.core.extension import Extension, by_epochs, by_steps
from tui_lora.core.fields import show
from tui_lora.core.status import Status
from tui_lora.core.text import one_line
from tui_lora.ui.control_text import course_rows
from tui_lora.ui.ink import ACCENT, DIM, STRONG, TIGHT, WRONG, dim, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.state import RunNow
from tui_lora.ui.widgets.line import Line, Lines

FIELDS = ("epochs", "steps")


class ExtendForm(Panel[Extension | None]):
    """Dismissed with what was asked for, or None. `run` has a spec and a plan."""

    BINDINGS: ClassVar = [
        Binding("up,shift+tab", "move(-1)", "up", id="extend.up", tooltip="epochs"),
        Binding("down,tab", "move(1)", "down", id="extend.down", tooltip="steps"),
        Binding("escape", "leave", "leave", id="extend.leave", tooltip="leave it as long as it is"),
    ]
    DEFAULT_CSS = """
    ExtendForm .row { height: 1; width: 100%; }
    ExtendForm .label { width: 9; }
    ExtendForm #so-long { margin: 0 0 1 0; }
    ExtendForm #shape { margin: 1 0; height: 3; }
    ExtendForm #meaning { margin: 0 0 1 0; height: 4; }
    """
    CSS = """
    ExtendForm Input { background: $panel; }
    ExtendForm Input:focus { background: $cursor; }
    """

    def __init__(self, run: RunNow) -> None:
        super().__init__()
        assert run.spec is not None
        assert run.view.plan is not None
        self._run, self._spec, self._plan = run, run.spec, run.view.plan
        steps = run.view.checkpoint_steps
        self._step = run.view.step if run.status.alive or not steps else steps[-1]
        self._typed = "steps" if run.spec.training.max_steps is not None else "epochs"
        self._found: Extension | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="so-long")
            for name in FIELDS:
                with Horizontal(classes="row"):
                    yield Line(classes="label")
                    yield Input(id=name, compact=True, restrict=r"[0-9.,_]*")
            yield Lines(id="shape")
            yield Lines(id="meaning")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        plan = self._plan
        has = f"{plan.total_steps:,} steps, {show(round(plan.epochs, 2))} epochs"
        name = one_line(self._run.paths.name, max_chars=40)
        where = "is at" if self._run.status.alive else "goes on from"
        self.query_one("#so-long", Line).say(
            join(ink(name, STRONG), dim(f" has {has}; it {where} step {self._step:,}"))
        )
        longer = f"{plan.total_steps * 3 // 2}"
        if self._typed == "epochs":
            longer = show(float(int(plan.epochs) + 1))
        field = self.query_one(f"#{self._typed}", Input)
        field.value = longer
        field.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def on_descendant_focus(self) -> None:
        focused = self.focused.id if self.focused is not None else ""
        for name, label in zip(FIELDS, self.query(".label").results(Line), strict=True):
            label.say(ink(name, ACCENT if name == focused else DIM))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input.id in FIELDS:
            self._typed = str(event.input.id)
            self._look(event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._found is not None:
            self.dismiss(self._found)

    def action_move(self, step: int) -> None:
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_leave(self) -> None:
        self.dismiss(None)

    def _look(self, text: str) -> None:
        self._found, trouble = None, ""
        try:
            self._found = self._extension(text.replace(",", "").replace("_", ""))
        except ValueError:
            trouble = f"A number of {self._typed}."
        except UserError as error:
            trouble = f"{error.what} {error.then}"
        other = self.query_one("#steps" if self._typed == "epochs" else "#epochs", Input)
        with self.prevent(Input.Changed):
            other.value = self._other()
        self._show(trouble)

    def _extension(self, text: str) -> Extension:
        if self._typed == "epochs":
            return by_epochs(self._spec, self._plan, self._step, float(text))
        return by_steps(self._spec, self._plan, self._step, int(text))

    def _other(self) -> str:
        if self._found is None:
            return ""
        if self._typed == "epochs":
            return f"{self._found.steps:,}"
        return show(round(self._found.epochs, 2))

    def _show(self, trouble: str = "") -> None:
        shape, meaning = self.query_one("#shape", Lines), self.query_one("#meaning", Lines)
        keys = [("↑↓", "epochs or steps"), ("Esc", "leaves it as it is")]
        if self._found is None:
            shape.say()
            if trouble:
                meaning.say(ink(f"✗ {one_line(trouble)}", WRONG))
        else:
            width = max(40, shape.size.width or self.app.size.width - 6)
            shape.say(*course_rows(self._found, width))
            rows = [ink(self._found.meaning)]
            if self._run.status is Status.DONE:
                rows.append(ink("! Its adapter is replaced when the longer run is saved.", TIGHT))
            meaning.say(*rows)
            alive = self._run.status.alive
            does = "saves, loads anew and goes on" if alive else "goes on with it"
            keys = [("Enter", does), ("Esc", "leaves it"), *keys[:1]]
        row = self.query_one("#form-keys", Line)
        row.say(keys_row(keys, row.size.width))
