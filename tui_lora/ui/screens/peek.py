"""What the run's model says on the way, step by step beside the base; opened over Train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input

from tui_lora.core.peek import PeekAnswer, Question, key_of, questions, turns_of
from tui_lora.core.text import one_line
from tui_lora.store import peeks
from tui_lora.ui import peek_text
from tui_lora.ui.ink import ink
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

if TYPE_CHECKING:
    from tui_lora.core.orders import Order
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.state import RunNow

PEEK = ("peek.prompts", "peek.held_out", "peek.every_steps", "peek.max_new_tokens")
VOICES = 3


class PeeksRead(Message):
    """What the session has by now; `of` is whose."""

    def __init__(self, of: SessionPaths, found: tuple[Question, ...]) -> None:
        self.of, self.found = of, found
        super().__init__()


class Questions(Table):
    """Enter asks the one under the cursor once more; left and right are the page's."""

    BINDINGS = [
        Binding("enter", "open", "ask again", False, id="peek.again", tooltip="ask it now"),
        Binding("left", "screen.step(-1)", "earlier", id="peek.earlier",
                tooltip="the answer at the step before"),
        Binding("right", "screen.step(1)", "later", id="peek.later",
                tooltip="the answer at the next step"),
    ]  # fmt: skip


class PeekScreen(Page):
    TITLE_WORD = "Answers"
    CSS_PATH = "peek.tcss"
    HELP = (
        "What the model says while it trains, always its likeliest word, so that an answer changes "
        "because the weights did. Left and right go through the steps, and words that the answer "
        "before did not have are bright. Beside it stand the base's own answer and the dataset's. "
        "a asks something: it is answered at the end of the step, or at once while the run holds. "
        "What is trained is the same to the bit, however much is asked; it waits for each answer."
    )
    BINDINGS = [
        Binding("a", "ask", "ask", id="peek.ask",
                tooltip="a message, answered at the end of the step"),
        Binding("f", "fix", "fix prompts", id="peek.fix",
                tooltip="what is asked by itself, and how often, from here on"),
        Binding("space", "page(1)", "page down", False, id="peek.page_down",
                tooltip="the answers, a page on"),
        Binding("b", "page(-1)", "page up", False, id="peek.page_up",
                tooltip="the answers, a page back"),
        Binding("escape", "back", "back", id="peek.back", tooltip="back to the run"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, Question] = {}
        self._step: int | None = None
        """Which step is looked at; None for the last one."""
        self._seen: tuple[SessionPaths | None, int] = (None, -1)
        self._mine: dict[str, str] = {}
        self._go_to = ""
        self._again: Question | None = None
        """What is asked once more."""

    def compose_body(self) -> ComposeResult:
        yield Empty(id="empty")
        yield Questions(*peek_text.COLUMNS)
        yield Line(id="place")
        with VerticalScroll(id="answers"), Container(id="voices"):
            for at in range(VOICES):
                with Vertical(classes="voice", id=f"voice-{at}"):
                    yield Line(classes="head")
                    yield Lines(classes="text")
                    yield Line(classes="foot")
        yield Line(id="waiting")
        with Horizontal(id="ask"):
            yield Line(id="prompt")
            yield Composer(id="composer")

    def on_mount(self) -> None:
        self.query_one("#prompt", Line).say(ink("▸", "$accent"))
        self.query_one("#answers", VerticalScroll).can_focus = False
        self.follow("run_now", self._show_run)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_answers)

    def topic(self) -> str:
        return "peek.prompts"

    # What is there.

    def _show_run(self, run: RunNow | None) -> None:
        width = max(40, self.size.width - 2)
        if run is None:
            self._show_questions()
            return
        if self._seen[0] not in (None, run.paths):
            self._found, self._step, self._mine, self._go_to = {}, None, {}, ""
        if (run.paths, run.view.peeks) != self._seen:
            self._seen = (run.paths, run.view.peeks)
            self._read(run.paths)
        self._hear(run)
        self.query_one("#waiting", Line).say(peek_text.waiting_row(run, width))
        if not run.status.alive and self.query_one(Composer).has_focus:
            self._stop_typing()
        if not self._found:
            self._show_questions()
        self.refresh_bindings()

    def _hear(self, run: RunNow) -> None:
        """What became of the messages that were sent from here."""
        for id, key in list(self._mine.items()):
            answer = run.view.answers.get(id)
            if answer is None:
                continue
            del self._mine[id]
            if answer.ok:
                self._go_to = key
                self.say(answer.message, "good")
            else:
                self.say(f"not answered: {answer.message}", "warning")

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _read(self, paths: SessionPaths) -> None:
        self.post_message(PeeksRead(paths, questions(peeks.read(paths))))

    @on(PeeksRead)
    def _is_read(self, fact: PeeksRead) -> None:
        fact.stop()
        if fact.of != self._seen[0]:
            return
        self._found = {question.key: question for question in fact.found}
        self._show_questions()

    def _show_questions(self) -> None:
        self.set_class(not self._found, "-empty")
        table = self.query_one(Table)
        if not self._found:
            about, keys = peek_text.no_answers(self.bench.run_now)
            self.query_one(Empty).show(about, *keys)
        table.show([peek_text.question_row(one) for one in self._found.values()])
        if self._go_to in self._found:
            table.point(self._go_to)
            self._step, self._go_to = None, ""
        self._show_answers()
        self.refresh_bindings()

    @on(Table.Pointed)
    def _moved(self, event: Table.Pointed) -> None:
        event.stop()
        self.query_one("#answers", VerticalScroll).scroll_home(animate=False)
        self._show_answers()

    @property
    def _question(self) -> Question | None:
        return self._found.get(self.query_one(Table).pointed or "")

    def _here(self, question: Question) -> PeekAnswer | None:
        if self._step is None:
            return question.answers[-1] if question.answers else None
        return question.at(self._step)

    def _show_answers(self) -> None:
        question = self._question
        if question is None:
            return
        here = self._here(question)
        width = max(40, self.size.width - 2)
        self.query_one("#place", Line).say(peek_text.place_row(question, here, width))
        sorts = any(one.chances for one in question.answers)
        told = peek_text.columns(question, here, sorts=sorts)
        for at in range(VOICES):
            voice = self.query_one(f"#voice-{at}", Vertical)
            voice.display = at < len(told)
            if at < len(told):
                voice.query_one(".head", Line).say(told[at].head)
                voice.query_one(".text", Lines).say(told[at].text)
                voice.query_one(".foot", Line).say(told[at].foot)

    # Intents.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        run = self.bench.run_now if self.is_attached else None
        if action in ("ask", "fix"):
            alive = run is not None and run.status.alive
            return alive and (action == "ask" or (run is not None and run.spec is not None))
        if action in ("step", "page"):
            return bool(self._found)
        return True

    def action_step(self, by: int) -> None:
        question = self._question
        here = self._here(question) if question is not None else None
        if question is None or not question.answers:
            return
        steps = [one.step for one in question.answers]
        at = steps.index(here.step) + by if here is not None else 0
        if 0 <= at < len(steps):
            # The last one stays the last as the run goes on.
            self._step = None if at == len(steps) - 1 else steps[at]
            self._show_answers()

    def action_page(self, pages: int) -> None:
        answers = self.query_one("#answers", VerticalScroll)
        answers.scroll_relative(y=pages * max(1, answers.size.height - 1), animate=False)

    @on(Table.Opened)
    def _ask_again(self, event: Table.Opened) -> None:
        event.stop()
        question = self._question
        if question is None or not self.check_action("ask", ()):
            return
        if not question.whole:
            why = "earlier turns or a part of its text are not kept"
            self.say(f"it cannot be asked again: {why}.", "warning")
            return
        self.action_ask()
        self._again = question
        self.query_one(Composer).write(question.prompt)
        if question.system.strip():
            self.say(f"its system prompt goes with it: {question.system}")

    def action_ask(self) -> None:
        if self._again is not None:
            self._again = None
            self.query_one(Composer).write("")
        self.add_class("-asking")
        self.query_one(Composer).focus()

    def action_back(self) -> None:
        if self.query_one(Composer).has_focus:
            self._stop_typing()
        else:
            self.dismiss()

    def _stop_typing(self) -> None:
        self.remove_class("-asking")
        self.query_one(Table).focus()

    @on(Input.Submitted, "#composer")
    def _sent(self, event: Input.Submitted) -> None:
        event.stop()
        composer, again = self.query_one(Composer), self._again
        if not composer.text:
            return
        same = again is not None and composer.value == one_line(again.prompt)
        text = composer.take()
        # A row of a terminal has no room for the spaces around it.
        prompt = again.prompt if again is not None and same else text
        self._order(prompt, again.system if again is not None else "")
        self._stop_typing()

    def action_fix(self) -> None:
        from tui_lora.core.orders import ChangeSpec
        from tui_lora.ui.screens.intervals import IntervalsForm

        run = self.bench.run_now
        if run is None or run.spec is None:
            return

        def answered(changes: dict[str, Any] | None) -> None:
            if changes:
                self._give(ChangeSpec, "", changes=changes)

        self.app.push_screen(IntervalsForm(run.spec, PEEK), answered)

    def _order(self, prompt: str, system: str) -> None:
        from tui_lora.core.orders import Peek

        self._give(Peek, key_of(turns_of(prompt, system)), prompt=prompt, system=system)

    @work(thread=True, exit_on_error=False, group="order")
    def _give(self, kind: type[Order], key: str, **fields: Any) -> None:
        from tui_lora.store.sessions import give

        paths = self.bench.session
        if paths is not None:
            order = give(paths, kind, **fields)
            self.app.call_from_thread(self._given, order.id, key)

    def _given(self, id: str, key: str) -> None:
        self._mine[id] = key
        self.say("asked; it is answered at the end of the step.")
