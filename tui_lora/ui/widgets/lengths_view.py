"""How long the rows are in tokens: measured as soon as nothing changes for a moment, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.content import Content
from textual.timer import Timer

from tui_lora.store.paths import DEMO_MODEL, is_there, model_place
from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.inspector import Inspector
from tui_lora.ui.row_lengths import LengthsKnown, lengths_of
from tui_lora.ui.widgets.scroll_rows import ScrollRows

if TYPE_CHECKING:
    from tui_lora.core.inspect import FromInspect, LengthsMeasured

SETTLED_S = 0.8
MOST_ROWS = 2000


class LengthsView(ScrollRows, can_focus=False):
    """`measure` what the draft asks, `answered` what the worker said."""

    def __init__(self, inspector: Inspector, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._inspector = inspector
        self._asked = Asked()
        self._settling: Timer | None = None
        self.measured: LengthsMeasured | None = None
        self._words = ""

    def measure(self, asked: Asked, *, anew: bool = False) -> None:
        """Measure again when what the lengths depend on is another; at rest, not at every key."""
        if asked.fed_key == self._asked.fed_key and not anew:
            return
        other_rows = asked.rows_key != self._asked.rows_key
        self._asked = asked
        self._inspector.drop("lengths")
        if self._settling is not None:
            self._settling.stop()
        if other_rows:
            self.measured = None
        if asked.data is None:
            self._say("")
        elif not asked.model:
            self._say("in tokens of a model: choose one with 2")
        elif asked.model == DEMO_MODEL and not is_there(Path(model_place(DEMO_MODEL))):
            self._say("known once the demo model is fetched")
        else:
            if self.measured is None:
                self._say("measured when nothing changes for a moment …")
            self._settling = self.set_timer(SETTLED_S, self._ask)

    def _ask(self) -> None:
        self._settling = None
        if self._inspector.state == "ended":
            self._say("—  the inspect worker ended; r starts it again")
            return
        from tui_lora.core.inspect import MeasureLengths

        self._inspector.ask("lengths", MeasureLengths, spec=self._asked.wire, rows=MOST_ROWS)
        if self.measured is None:
            self._say("measuring …")

    def answered(self, answer: FromInspect) -> None:
        from tui_lora.core.inspect import InspectFailed, InspectWorking, LengthsMeasured

        if isinstance(answer, LengthsMeasured):
            if answer.rows and self._asked.spec is not None:
                self.measured, self._words = answer, ""
                self._inspector.lengths = LengthsKnown(lengths_of(self._asked.spec), answer)
                self._redraw()
            else:
                self._say("no row could be measured")
        elif isinstance(answer, InspectWorking) and self.measured is None:
            self._say(f"{answer.label} …")
        elif isinstance(answer, InspectFailed):
            self.measured = None
            self._say(f"—  {answer.message}")

    def worker_ended(self) -> None:
        if self._asked.data is not None and self._asked.model:
            self.measured = None
            self._say("—  the inspect worker ended; r starts it again")

    def on_resize(self, event: events.Resize) -> None:
        self._redraw()

    def _say(self, words: str) -> None:
        self._words = words
        if self.measured is None:
            self._redraw()

    def _redraw(self) -> None:
        from tui_lora.core.text import one_line
        from tui_lora.ui.lengths_text import lengths_rows, waiting_rows

        measured, words, height = self.measured, one_line(self._words), self.size.height

        def draw(width: int) -> list[Content]:
            if measured is None:
                return waiting_rows(words, height) if words else []
            return lengths_rows(measured, width, height)

        self.show(draw)
