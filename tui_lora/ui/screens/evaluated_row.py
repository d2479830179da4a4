"""One row whole: prompt, reference, and what base and tuned made of it; opened over the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.screen import Screen

from tui_lora.core.evaluated_rows import Kind, Measured, of_the_same
from tui_lora.core.evaluation import AnswerRow, Evaluation, LossRow
from tui_lora.ui import evaluated_text
from tui_lora.ui.ink import dim, ink, join
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.line import Line, Lines

_SIDES = ("base", "tuned")


class EvaluatedRowScreen(Page):
    """Dismissed with where in `shown` one was."""

    TITLE_WORD = "Row"
    CSS_PATH = "evaluated_row.tcss"
    AUTO_FOCUS = ""
    HELP = (
        "One row: what was asked, what the dataset has, and what base and tuned made of it. Left "
        "and right go to the row before and the next, in the order of the list. Answers are "
        "greedy: the likeliest token each time. The loss is in nats a token, over the tokens that "
        "training counts."
    )
    BINDINGS = [
        Binding("left", "step(-1)", "before", id="row.before", tooltip="the row before"),
        Binding("right", "step(1)", "next", id="row.next", tooltip="the next row"),
        Binding("up,k", "scroll(-1)", "up", False, id="row.up", tooltip="a line up"),
        Binding("down,j", "scroll(1)", "down", False, id="row.down", tooltip="a line down"),
        Binding("space", "page(1)", "page down", False, id="row.page_down", tooltip="a page on"),
        Binding("b", "page(-1)", "page up", False, id="row.page_up", tooltip="a page back"),
        Binding("escape", "back", "back", id="row.back", tooltip="back to the list"),
    ]

    def __init__(
        self,
        found: Evaluation,
        kind: Kind,
        shown: Sequence[Measured],
        at: int,
        rows: Sequence[LossRow | AnswerRow],
    ) -> None:
        super().__init__()
        self._found, self._kind, self._shown = found, kind, list(shown)
        self._at, self._rows = at, rows

    def compose_body(self) -> ComposeResult:
        yield Line(id="head")
        with VerticalScroll(id="row"):
            yield Lines(id="asked")
            yield Lines(id="wanted")
            with Container(id="voices"):
                for side in _SIDES:
                    with Vertical(classes="voice", id=side):
                        yield Lines(classes="head")
                        yield Lines(classes="text")
                        yield Lines(classes="foot")

    def on_mount(self) -> None:
        # It would take the arrows for itself.
        self.query_one("#row", VerticalScroll).can_focus = False
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        one = self._shown[self._at]
        width = max(40, self.size.width - 2)
        head = evaluated_text.head_row(one, self._kind, self._at, len(self._shown), width)
        self.query_one("#head", Line).say(head)
        answer = of_the_same(one.row, self._rows)
        name, text = evaluated_text.prompt_of(one, answer)
        self.query_one("#asked", Lines).say(join(dim(f"{name}  "), ink(text)))
        name, text = evaluated_text.reference_of(one, answer)
        wanted = self.query_one("#wanted", Lines)
        wanted.display = bool(name)
        wanted.say(join(dim(f"{name}  "), ink(text)))
        told = evaluated_text.voices_of(one, answer, self._found.metrics)
        for side, voice in zip(_SIDES, told, strict=True):
            place = self.query_one(f"#{side}", Vertical)
            place.query_one(".head", Lines).say(voice.head)
            for name, said in ((".text", voice.text), (".foot", voice.foot)):
                lines = place.query_one(name, Lines)
                lines.display = bool(said.plain)
                lines.say(said)

    def action_step(self, by: int) -> None:
        at = self._at + by
        if 0 <= at < len(self._shown):
            self._at = at
            self.query_one("#row", VerticalScroll).scroll_home(animate=False)
            self._draw()

    def action_scroll(self, lines: int) -> None:
        self.query_one("#row", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_page(self, pages: int) -> None:
        row = self.query_one("#row", VerticalScroll)
        row.scroll_relative(y=pages * max(1, row.size.height - 1), animate=False)

    def action_back(self) -> None:
        cast("Screen[int]", self).dismiss(self._at)
