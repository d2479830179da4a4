"""A message and its answers, beside each other where there is room for that."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_lora.core.chat import BASE
from tui_lora.core.text import duration, number, one_line
from tui_lora.core.transcript import Answer, Exchange
from tui_lora.ui.chances import SHOWN_CHANCES, chance_rows
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, STRONG, TIGHT, WRONG, dim, ink, join
from tui_lora.ui.widgets.line import Line


class Prose(Static):
    """Text of any length that grows: laid out again only when it takes another row."""

    DEFAULT_CSS = "Prose { height: auto; width: 1fr; }"

    def __init__(
        self, content: Content | None = None, *, id: str | None = None, classes: str | None = None
    ) -> None:
        self._said = content or Content("")
        super().__init__(self._said, markup=False, id=id, classes=classes)

    @property
    def said(self) -> Content:
        return self._said

    def say(self, content: Content) -> None:
        if content.is_same(self._said):
            return
        self._said = content
        width, height = self.content_size
        as_high = width > 0 and content.get_height(self.styles.get_rules(), width) == height
        self.update(content, layout=not as_high)


class AnswerView(Vertical):
    """One answer: who gives it, what is there of it, and how fast it came."""

    DEFAULT_CSS = """
    AnswerView {
        height: auto;
        width: 1fr;
        padding: 0 2 0 0;
    }
    """

    def __init__(self, answer: Answer, truth: str = "") -> None:
        super().__init__()
        self.answer = answer
        self._truth = truth
        look = STRONG if answer.voice == BASE else f"bold {ACCENT}"
        self._head = Line()
        self._head.say(ink(one_line(answer.label), look))
        self._text = Prose(_text(answer, truth))
        self._foot = Line()
        self._foot.say(foot(answer))

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._text
        yield self._foot

    def on_mount(self) -> None:
        # What came between being made and being there.
        self.draw()

    def draw(self) -> None:
        """Draw the answer as it is now."""
        self._text.say(_text(self.answer, self._truth))
        self._foot.say(foot(self.answer))


class ExchangeView(Vertical):
    """The message, its answers in columns (`.answers` is laid out by the page), the reference."""

    DEFAULT_CSS = """
    ExchangeView { height: auto; width: 1fr; margin: 0 0 1 0; }
    ExchangeView > .question { margin: 0 0 1 0; }
    ExchangeView > .answers { height: auto; width: 1fr; }
    ExchangeView > .reference { padding: 0 2 0 0; }
    """

    def __init__(self, exchange: Exchange, asker: str = "you", *, told: str = "reference") -> None:
        super().__init__()
        self.exchange = exchange
        self._asker = asker
        self._told = told
        self._answers = Container(classes="answers")

    def compose(self) -> ComposeResult:
        asked = join(dim(f"{self._asker}  "), (self.exchange.question, STRONG))
        yield Prose(asked, classes="question")
        with self._answers:
            for answer in self.exchange.answers:
                yield AnswerView(answer, self.exchange.reference)
        if self.exchange.reference:
            told = join(dim(f"{self._told}  "), (self.exchange.reference, DIM))
            yield Prose(told, classes="reference")

    def draw(self, id: str) -> None:
        """Draw the answer of this id, if it is here, as it is now."""
        for view in self.query(AnswerView):
            if view.answer.id == id:
                view.draw()

    def add(self, answer: Answer) -> None:
        """Show one more answer to the message."""
        if self._answers.is_attached:
            self._answers.mount(AnswerView(answer, self.exchange.reference))


class Talk(VerticalScroll):
    """Exchanges from the top down; once they fill it, the end stays in sight until one scrolls.

    Anchored from the start it would push a short conversation to the bottom, and move all of it
    with each row.
    """

    DEFAULT_CSS = "Talk { layout: stream; height: 1fr; scrollbar-size-vertical: 1; }"

    def watch_virtual_size(self) -> None:
        self._settle()

    def on_resize(self) -> None:
        self._settle()

    def to_end(self) -> None:
        """Show the end again, wherever one has scrolled to."""
        if self.is_anchored:
            self.anchor()

    def clear(self, *hints: Content) -> None:
        """Empty it, but for what may be done now."""
        self.remove_children()
        if hints:
            self.mount(Prose(Content("\n").join(hints), classes="hints"))

    def add(self, exchange: Exchange, asker: str = "you", *, told: str = "reference") -> None:
        """Show another exchange, at the end; `told` is what the dataset's answer is called."""
        self.query(".hints").remove()
        self.mount(ExchangeView(exchange, asker, told=told))
        self.to_end()

    def add_answers(self, exchange: Exchange, answers: list[Answer]) -> None:
        """Show more answers to a message that stands here."""
        for view in self.query(ExchangeView):
            if view.exchange is exchange:
                for answer in answers:
                    view.add(answer)
        self.to_end()

    def draw(self, answer: Answer) -> None:
        """Draw an answer as it is now, the last ones looked at first."""
        for view in reversed(self.query(AnswerView).nodes):
            if view.answer is answer:
                view.draw()
                return

    def _settle(self) -> None:
        full = self.virtual_size.height > self.container_size.height > 0
        if full and not self.is_anchored:
            self.anchor()
        elif not full and self.is_anchored:
            self.anchor(False)
            self.scroll_to(y=0, animate=False)


def _text(answer: Answer, truth: str) -> Content:
    if answer.chances:
        return Content("\n").join(chance_rows(answer.chances, truth))
    text = answer.text.strip("\n")
    if not text.strip() and answer.ended_by in ("end", "length"):
        return dim("(nothing that can be seen)")
    return ink(text, BRIGHT)


def foot(answer: Answer) -> Content:
    """`41 tokens · 18.2 tok/s`, and why it is no longer or not at all."""
    if answer.ended_by == "failed":
        return ink(f"✗ {one_line(answer.problem)}", WRONG)
    if not answer.tokens and answer.ended_by in ("", "cancel"):
        return dim("◌ waiting") if answer.running else ink("■ stopped", TIGHT)
    if answer.chances:
        among = len(answer.chances)
        of = f" · the likeliest of {among:,} labels" if among > SHOWN_CHANCES else ""
        read = "1 token" if answer.tokens == 1 else f"{answer.tokens:,} tokens"
        return dim(f"{read} read · {duration(answer.seconds)}{of}")
    counted = dim("1 token" if answer.tokens == 1 else f"{answer.tokens:,} tokens")
    if answer.running:
        return join(("● ", ACCENT), counted)
    speed = answer.tokens_per_s
    pieces = [counted, dim(f" · {number(speed)} tok/s" if speed is not None else "")]
    if answer.ended_by == "length":
        pieces.append(dim(" · cut at the limit"))
    elif answer.ended_by == "cancel":
        pieces.append(ink("   ■ stopped", TIGHT))
    return join(*pieces)
