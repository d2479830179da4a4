"""The checkpoints of a session: what each is worth, and what to do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message

from tui_lora.core.best import best_step
from tui_lora.core.errors import UserError
from tui_lora.core.text import UNKNOWN, number, one_line, size
from tui_lora.store.checkpoints import Checkpoint, checkpoints, damage
from tui_lora.store.pins import pin, pinned
from tui_lora.store.removal import remove_checkpoint
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    dim,
    ink,
    join,
    keys_row,
)
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.screens.question import Question
from tui_lora.ui.state import RunNow
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Row, Table

MOST_ROWS = 12
AROUND_ROWS = 12
"""Border, padding, what stands above and below, and the gaps between."""
PANEL_SHARE = 0.8

COLUMNS = (
    Column("step", 10, numeric=True),
    Column("size", 9, numeric=True),
    Column("held-out", 9, numeric=True),
    Column("", 14),
    Column("", 0),
)


@dataclass(frozen=True)
class Chosen:
    """What is to be done with a checkpoint that needs another screen."""

    what: Literal["chat", "branch"]
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Found:
    """`harm`: None while every byte is read, "" for a whole one."""

    checkpoint: Checkpoint
    pinned: bool
    harm: str | None = None


class CheckpointList(Panel[Chosen | None]):
    """Dismissed with what was chosen, or with None; pins and deletes by itself."""

    BINDINGS: ClassVar = [
        Binding("p", "pin", "pin", id="checkpoints.pin", tooltip="keep it, or no longer"),
        Binding("b", "branch", "branch", id="checkpoints.branch", tooltip="a new run from it"),
        Binding("t", "chat", "talk", id="checkpoints.chat", tooltip="talk to its adapter"),
        Binding("x", "delete", "delete", id="checkpoints.delete", tooltip="delete it (asks first)"),
        Binding("escape,q", "leave", "leave", id="checkpoints.leave", tooltip="leave the list"),
    ]
    DEFAULT_CSS = """
    CheckpointList #whose { margin: 0 0 1 1; }
    CheckpointList Table { background: $panel; }
    CheckpointList #about-checkpoint { margin: 1 0 0 1; height: 2; }
    CheckpointList #picker-keys { margin: 1 0 0 1; }
    """

    class Read(Message, bubble=False):
        """What lies on the disk by now; `said` of what was just done to it."""

        def __init__(self, found: tuple[Found, ...], said: str = "", failed: bool = False) -> None:
            self.found, self.said, self.failed = found, said, failed
            super().__init__()

    def __init__(self, run: RunNow) -> None:
        super().__init__()
        self._run, self._paths = run, run.paths
        self._found: dict[str, Found] = {}
        self._read_once = False
        self._said = Content("")
        self._best: int | None = None
        self._by = run.spec.evaluation.stop_by if run.spec is not None else "loss"

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="whose")
            yield Table(*COLUMNS)
            yield Lines(id="about-checkpoint")
            yield Line(id="picker-keys")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.watch(self.app, "run_now", self._run_changed, init=False)
        self._look()
        self._show()

    def _run_changed(self, run: RunNow | None) -> None:
        """A run that goes on saves, measures and deletes while one reads."""
        if run is None or run.paths != self._paths or not run.whole:
            return
        before, self._run = self._run.view, run
        if run.view.checkpoint_steps != before.checkpoint_steps:
            self._look()
        elif run.view.last_eval != before.last_eval:
            self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_below)
        room = int(PANEL_SHARE * self.app.size.height) - AROUND_ROWS
        height = min(MOST_ROWS, max(2, room))
        self.query_one(Table).styles.height = height + Table.HEADER_ROWS

    @property
    def _pointed(self) -> Found | None:
        return self._found.get(self.query_one(Table).pointed or "")

    @on(Table.Pointed)
    def _moved(self, event: Table.Pointed) -> None:
        event.stop()
        self._show_below()

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        self.action_branch()

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_branch(self) -> None:
        if (found := self._pointed) is not None and not self._refuse(found):
            self.dismiss(Chosen("branch", found.checkpoint))

    def action_chat(self) -> None:
        if (found := self._pointed) is not None and not self._refuse(found):
            self.dismiss(Chosen("chat", found.checkpoint))

    def action_pin(self) -> None:
        self._said = Content("")
        if (found := self._pointed) is not None:
            self._pin(found)

    def action_delete(self) -> None:
        self._said = Content("")
        if (found := self._pointed) is None:
            return
        step = found.checkpoint.step

        def answered(yes: bool | None) -> None:
            if yes:
                self._delete(step)

        detail = f"{size(found.checkpoint.size_bytes)}; it goes for good."
        marks = ["the best on the held-out rows"] if step == self._best else []
        marks += ["pinned"] if found.pinned else []
        if marks:
            detail += f" It is {' and '.join(marks)}."
        question = Question(f"Delete the checkpoint of step {step:,}?", detail, "delete it")
        self.app.push_screen(question, answered)

    def _refuse(self, found: Found) -> bool:
        if found.harm:
            self._tell(f"it is damaged: {one_line(found.harm)}.", WRONG)
        return bool(found.harm)

    # What the disk has.

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look(self, said: str = "", failed: bool = False) -> None:
        """At once, and then with every byte checked, of those that were not before."""
        known = {found.checkpoint: found.harm for found in self._found.values()}
        held = pinned(self._paths)
        there = tuple(
            Found(one, one.step in held, known.get(one))
            for one in reversed(checkpoints(self._paths.checkpoints))
        )
        self.post_message(self.Read(there, said, failed))
        checked = tuple(
            replace(one, harm=damage(one.checkpoint.folder) or "") if one.harm is None else one
            for one in there
        )
        if checked != there:
            self.post_message(self.Read(checked))

    @work(thread=True, exit_on_error=False, group="do")
    def _pin(self, found: Found) -> None:
        step = found.checkpoint.step
        self._do(lambda: pin(self._paths, step, wanted=not found.pinned), "")

    @work(thread=True, exit_on_error=False, group="do")
    def _delete(self, step: int) -> None:
        done = f"the checkpoint of step {step:,} is deleted."
        self._do(lambda: remove_checkpoint(self._paths, step), done)

    def _do(self, what: Callable[[], None], done: str) -> None:
        try:
            what()
        except UserError as error:
            self.app.call_from_thread(self._look, f"{error.what} {error.then}".strip(), True)
        else:
            self.app.call_from_thread(self._look, done)

    @on(Read)
    def _is_read(self, fact: Read) -> None:
        self._read_once = True
        self._found = {str(found.checkpoint.step): found for found in fact.found}
        if fact.said:
            self._tell(fact.said, WRONG if fact.failed else GOOD)
        self._show()

    # What is shown.

    def _tell(self, text: str, style: str) -> None:
        self._said = ink(one_line(text), style)
        self._show_below()

    def _show(self) -> None:
        name = one_line(self._paths.name, max_chars=40)
        keep = self._run.spec.evaluation.keep if self._run.spec is not None else None
        kept = f": the last {keep}, the best and those that you pin are kept" if keep else ""
        self.query_one("#whose", Line).say(join(ink(name, STRONG), dim(kept)))
        steps = [found.checkpoint.step for found in self._found.values() if not found.harm]
        measured = self._run.view.evaluations
        self._best = best_step(measured, steps, self._by)
        losses = {one.step: one.loss for one in measured}
        rows = [self._row(one, losses.get(one.checkpoint.step)) for one in self._found.values()]
        self.query_one(Table).show(rows)
        self._show_below()

    def _row(self, found: Found, loss: float | None) -> Row:
        one = found.checkpoint
        state = dim("… checking") if found.harm is None else ink("✓ whole", GOOD)
        if found.harm:
            state = ink("✗ damaged", WRONG)
        marks = [ink("★ best", ACCENT)] if one.step == self._best else []
        marks += [ink("◆ pinned", TIGHT)] if found.pinned else []
        return Row(
            str(one.step),
            (
                ink(f"{one.step:,}", BRIGHT),
                ink(size(one.size_bytes)),
                ink(number(loss), DIM if loss is None else BRIGHT),
                state,
                Content("  ").join(marks),
            ),
        )

    def _show_below(self) -> None:
        found = self._pointed
        about, keys = self.query_one("#about-checkpoint", Lines), [("Esc", "leaves")]
        if found is None:
            none = "it has no checkpoint." if self._read_once else f"reading {UNKNOWN}"
            about.say(dim(none), self._said)
        else:
            harm = ink(f"✗ {one_line(found.harm)}", WRONG) if found.harm else Content("")
            tokens = dim(f"{found.checkpoint.tokens_seen:,} tokens went through the model by then")
            about.say(harm if found.harm else tokens, self._said)
            unpin = "unpins" if found.pinned else "pins"
            keys = [("b", "branches"), ("t", "talks to it"), ("p", unpin), ("x", "deletes"), *keys]
        row = self.query_one("#picker-keys", Line)
        row.say(keys_row(keys, row.size.width))
