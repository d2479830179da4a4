"""A message and its answers, beside each other where there is room for that."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui_lora.core.chat import Turn
from tui_lora.core.transcript import Answer, Exchange
from tui_lora.ui.ink import DIM, STRONG, dim, join
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.written import Grown

LEAST_COLUMN = 30
"""Cells of a column; where the answers have less, they stand below each other."""


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


class Columns(Container, Grown):
    """Answers beside each other, or below."""


class ExchangeView(Vertical, Grown):
    """The message, its answers in columns, the reference."""

    DEFAULT_CSS = """
    ExchangeView { height: auto; width: 1fr; margin: 0 0 1 0; }
    ExchangeView > .question { margin: 0 0 1 0; }
    ExchangeView > .opening { padding: 0 2 0 0; }
    ExchangeView > .answers { height: auto; width: 1fr; layout: vertical; }
    ExchangeView > .answers.-columns { layout: horizontal; }
    ExchangeView > .reference { padding: 0 2 0 0; }
    """

    def __init__(
        self,
        exchange: Exchange,
        asker: str = "you",
        *,
        told: str = "reference",
        rendered: bool = True,
    ) -> None:
        super().__init__()
        self.exchange = exchange
        self._asker = "text" if exchange.plain else asker
        self._told = told
        self._rendered = rendered
        self._answers = Columns(classes="answers")

    def compose(self) -> ComposeResult:
        if self.exchange.opening and not self.exchange.plain:
            yield Prose(join(dim("row  "), opening_words(self.exchange.opening)), classes="opening")
        asked = join(dim(f"{self._asker}  "), (self.exchange.question, STRONG))
        yield Prose(asked, classes="question")
        with self._answers:
            for answer in self.exchange.answers:
                yield self._view(answer)
        if self.exchange.reference:
            told = join(dim(f"{self._told}  "), (self.exchange.reference, DIM))
            yield Prose(told, classes="reference")

    def on_mount(self) -> None:
        # Before it is laid out, so that nothing moves right after.
        if isinstance(self.parent, Widget):
            self._arrange(self.parent.size.width)

    def on_resize(self) -> None:
        self._arrange(self.size.width)

    def views(self) -> Sequence[AnswerView]:
        return list(self.query(AnswerView))

    def draw(self, id: str) -> None:
        """Draw the answer of this id, if it is here, as it is now."""
        for view in self.views():
            if view.answer.id == id:
                view.draw()

    def add(self, answer: Answer) -> None:
        """Show one more answer to the message."""
        if self._answers.is_attached:
            self._answers.mount(self._view(answer))
            self._arrange(self.size.width)

    def render_as(self, rendered: bool) -> None:
        """Draw the answers with their Markdown, or as they were written."""
        self._rendered = rendered
        for view in self.views():
            view.rendered = rendered
            view.draw()

    def _view(self, answer: Answer) -> AnswerView:
        return AnswerView(answer, self.exchange.reference, rendered=self._rendered)

    def _arrange(self, width: int) -> None:
        beside = len(self.exchange.answers) * LEAST_COLUMN <= width
        self._answers.set_class(beside, "-columns")


def opening_words(turns: Sequence[Turn]) -> Content:
    """What of a dataset's row stands before the message."""
    own = turns[0].role == "system"
    many = len(turns) - own
    told = ["its own system prompt"] if own else []
    told += [f"{many} turn{'s' * (many != 1)}"] if many else []
    return dim(f"{' and '.join(told)} {'stand' if own + many > 1 else 'stands'} before it")


class Talk(VerticalScroll, Grown):
    """Exchanges from the top down; once they fill it, the end stays in sight until one scrolls.

    Anchored from the start it would push a short conversation to the bottom, and move all of it
    with each row.
    """

    DEFAULT_CSS = "Talk { height: 1fr; scrollbar-size-vertical: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rendered = True
        self._led_to: float | None = None

    def watch_virtual_size(self) -> None:
        self._settle()

    def on_resize(self) -> None:
        self._settle()

    def to_end(self) -> None:
        """Show the end again, wherever one has scrolled to."""
        self._led_to = None
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
        self.mount(ExchangeView(exchange, asker, told=told, rendered=self.rendered))
        self.to_end()

    def cut(self, exchange: Exchange) -> None:
        """Take an exchange out, and all below it."""
        views = list(self.query(ExchangeView))
        at = next((n for n, view in enumerate(views) if view.exchange is exchange), len(views))
        for view in views[at:]:
            view.remove()

    def render_as(self, rendered: bool) -> None:
        """Draw the answers with their Markdown, or as they were written."""
        self.rendered = rendered
        for view in self.query(ExchangeView):
            view.render_as(rendered)

    def add_answers(self, exchange: Exchange, answers: list[Answer]) -> None:
        """Show more answers to a message that stands here."""
        for view in self.query(ExchangeView):
            if view.exchange is exchange:
                for answer in answers:
                    view.add(answer)
        self.to_end()

    def replace(self, answer: Answer, before: Answer) -> None:
        """Show an answer in the place of another."""
        view = self._view_of(before)
        if view is not None:
            view.show(answer)

    def draw(self, answer: Answer) -> None:
        """Draw an answer as it is now."""
        view = self._view_of(answer)
        if view is not None:
            view.draw()
            if answer.running and answer.text:
                self._follow(view)

    def _follow(self, view: AnswerView) -> None:
        """Keep the end of a growing answer in sight that stands beside a longer one, until one
        scrolls."""
        moved = self._anchor_released if self._led_to is None else self.scroll_y != self._led_to
        # One that was mounted just now stands nowhere yet.
        if not self.is_anchored or moved or not view.region:
            return
        if view.end < self.region.y:
            self._lead(view.region.y - self.region.y)
        elif self._led_to is not None and view.end >= self.region.bottom:
            self._lead(self.size.height // 2)

    def _lead(self, by: int) -> None:
        self.scroll_relative(y=by, animate=False, immediate=True)
        self._led_to = self.scroll_y

    def _view_of(self, answer: Answer) -> AnswerView | None:
        # The last ones first: they are the ones that grow.
        for view in reversed(self.query(AnswerView).nodes):
            if view.answer is answer:
                return view
        return None

    def _settle(self) -> None:
        full = self.virtual_size.height > self.container_size.height > 0
        if full and not self.is_anchored:
            self.anchor()
        elif not full and self.is_anchored:
            self.anchor(False)
            self.scroll_to(y=0, animate=False)
