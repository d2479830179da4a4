"""One answer: who gives it, what is there of it, and how fast it came."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui_lora.core.chat import BASE
from tui_lora.core.text import duration, number, one_line
from tui_lora.core.transcript import Answer
from tui_lora.ui.chances import SHOWN_CHANCES, chance_rows
from tui_lora.ui.ink import ACCENT, GOOD, STRONG, TIGHT, WRONG, dim, fitting, ink, join
from tui_lora.ui.voices import labelled
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.written import Grown, Written

GAP = " · "
VERDICTS = {"won": ("   ✓ your vote", GOOD), "tied": ("   = a tie", "$dim"), "lost": ("", "$dim")}


class AnswerView(Vertical, Grown):
    """Draws an answer as it is; `rendered`: with its Markdown drawn once it is complete."""

    DEFAULT_CSS = """
    AnswerView {
        height: auto;
        width: 1fr;
        padding: 0 2 0 0;
    }
    """

    def __init__(self, answer: Answer, truth: str = "", *, rendered: bool = True) -> None:
        super().__init__()
        self.answer = answer
        self.rendered = rendered
        self._truth = truth
        self._head = Line()
        self._text = Written()
        self._foot = Line()
        self.draw()

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._text
        yield self._foot

    def on_mount(self) -> None:
        # What came between being made and being there.
        self.draw()

    def on_resize(self) -> None:
        self._foot.say(foot(self.answer, self.size.width))

    @property
    def end(self) -> int:
        """The row of the terminal at which its text ends."""
        return self._text.region.y + len(self._text.rows) - 1

    def show(self, answer: Answer) -> None:
        """Show another answer in its place."""
        self.answer = answer
        self.draw()

    def draw(self) -> None:
        """Draw the answer as it is now."""
        answer = self.answer
        self._head.say(head(answer))
        if answer.cover == "all":
            self._text.say(Content(""))
        elif answer.chances:
            self._text.say(Content("\n").join(chance_rows(answer.chances, self._truth)))
        elif not answer.text.strip() and answer.ended_by in ("end", "length", "stop"):
            self._text.say(dim("(nothing that can be seen)"))
        else:
            self._text.write(answer.text, running=answer.running, rendered=self.rendered)
        self._foot.say(foot(answer, self.size.width))


def head(answer: Answer) -> Content:
    """Who gives the answer, unless that is not told yet, what it was drawn with otherwise than its
    message was asked, and how it was voted."""
    alias = (answer.alias, STRONG)
    if answer.cover:
        return join(alias)
    look = STRONG if answer.voice == BASE else f"bold {ACCENT}"
    name = (labelled(answer.label, answer.strength), look)
    how = dim(f"{GAP}{one_line(answer.apart)}" if answer.apart else "")
    if not answer.alias:
        return join(name, how)
    return join(alias, "   ", name, how, VERDICTS.get(answer.verdict, ""))


def foot(answer: Answer, width: int = 0) -> Content:
    """`41 tokens · 18.2 tok/s · first 0.3 s · 1,802 left`, as much as fits, and why it is no
    longer or not at all."""
    if answer.cover:
        return _covered(answer)
    if answer.ended_by == "failed":
        return ink(f"✗ {one_line(answer.problem)}", WRONG)
    if not answer.tokens and answer.ended_by in ("", "cancel"):
        return dim("◌ waiting") if answer.running else ink("■ stopped", TIGHT)
    if answer.chances:
        among = len(answer.chances)
        of = f" · the likeliest of {among:,} labels" if among > SHOWN_CHANCES else ""
        return dim(f"{_tokens(answer)} read · {duration(answer.seconds)}{of}")
    if answer.running:
        return join(("● ", ACCENT), dim(_tokens(answer)))
    speed, first, left = answer.tokens_per_s, answer.first_token_s, answer.context_left
    pieces = [dim(_tokens(answer))]
    # What tells that there may be more of it comes first, since the last give way.
    if answer.ended_by == "length":
        pieces.append(dim("cut at the limit"))
    elif answer.ended_by == "stop":
        pieces.append(dim("stop string"))
    elif answer.ended_by == "cancel":
        pieces.append(ink("■ stopped", TIGHT))
    if speed is not None:
        pieces.append(dim(f"{number(speed)} tok/s"))
    if first is not None:
        pieces.append(dim(f"first {duration(first)}"))
    if left is not None:
        pieces.append(dim(f"{left:,} left"))
    return fitting(pieces, width or 200, GAP)


def _covered(answer: Answer) -> Content:
    """How it ended at most: figures, and an error with its path, would tell who it is."""
    if answer.cover == "all":
        return dim("◌ shown once all are written")
    if answer.ended_by == "failed":
        return ink("✗ no answer", WRONG)
    if answer.ended_by == "cancel":
        return ink("■ stopped", TIGHT)
    return Content("")


def _tokens(answer: Answer) -> str:
    return "1 token" if answer.tokens == 1 else f"{answer.tokens:,} tokens"
