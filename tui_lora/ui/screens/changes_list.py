"""A list of changes to a run, which fills while the inspect worker simulates what each would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from tui_lora.core.advice import Advice
from tui_lora.core.inspect import AdviseMemory, InspectFailed, MemoryAdvised
from tui_lora.core.text import one_line
from tui_lora.ui.inspector import Answered, Inspector, InspectorChanged
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Table

Chosen = TypeVar("Chosen")

PANEL_SHARE = 0.8


class ChangesList(Panel[Chosen]):
    """Dismissed with the change that was chosen, or with None.

    A subclass names its columns, asks by `ask`, and shows in `show` what `advice` holds by then.
    """

    COLUMNS: ClassVar[tuple[Column, ...]]
    AROUND_ROWS: ClassVar[int]
    """Border, padding, what stands above and below the table, and the gaps between."""
    MOST_ROWS: ClassVar[int]

    BINDINGS: ClassVar = [
        Binding("escape,q", "leave", "leave", id="advice.leave", tooltip="leave all as it is"),
    ]
    DEFAULT_CSS = """
    ChangesList #so-far { margin: 0 0 1 1; }
    ChangesList Table { background: $panel; }
    ChangesList #about-change { margin: 1 0 0 1; height: 4; }
    ChangesList #picker-keys { margin: 1 0 0 1; }
    """

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._inspector = inspector
        self.advice: Advice | None = None
        self.done = False
        self.trouble = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Lines(id="so-far")
            yield Table(*self.COLUMNS)
            yield Lines(id="about-change")
            yield Line(id="picker-keys")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.begin()
        self.show()

    def on_unmount(self) -> None:
        self.drop()

    def on_resize(self) -> None:
        # Not by what was found so far: the list would grow under one's eyes.
        room = int(PANEL_SHARE * self.app.size.height) - self.AROUND_ROWS
        height = min(self.MOST_ROWS, max(2, room))
        self.query_one(Table).styles.height = height + Table.HEADER_ROWS

    # What a subclass says.

    def begin(self) -> None:
        """What to do once it is open: ask, or say why nothing can be asked."""
        raise NotImplementedError

    def found(self, answer: MemoryAdvised) -> None:
        """Take what was simulated by now."""
        self.advice = answer.advice or self.advice
        self.done, self.trouble = answer.done, one_line(answer.unknown)

    def chosen(self, key: str) -> Chosen | None:
        """What a row stands for; None if it cannot be chosen."""
        raise NotImplementedError

    def show(self) -> None:
        """All rows anew."""
        raise NotImplementedError

    def show_below(self) -> None:
        """What the row under the cursor means, and which keys it has."""
        raise NotImplementedError

    # What a subclass does.

    def ask(self, question: Mapping[str, Any]) -> None:
        self._inspector.answer_to(self.post_message, "advice")
        self._inspector.start()
        self._inspector.ask("advice", AdviseMemory, **question)

    def drop(self) -> None:
        """Have nothing more simulated."""
        self._inspector.drop("advice")

    @on(Answered)
    def _answered(self, fact: Answered) -> None:
        if fact.kind != "advice":
            return
        fact.stop()
        if isinstance(fact.answer, MemoryAdvised):
            self.found(fact.answer)
        elif isinstance(fact.answer, InspectFailed):
            self.done, self.trouble = True, one_line(fact.answer.message)
        self.show()

    @on(InspectorChanged)
    def _inspector_changed(self, fact: InspectorChanged) -> None:
        fact.stop()
        if fact.state == "ended" and not self.done:
            self.done = True
            self.trouble = one_line(f"the inspect worker ended: {fact.words}")
            self.show()

    @on(Table.Pointed)
    def _pointed(self, event: Table.Pointed) -> None:
        event.stop()
        self.show_below()

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        if (chosen := self.chosen(event.key)) is not None:
            self.dismiss(chosen)

    def action_leave(self) -> None:
        self.dismiss(None)
