"""Held-out questions of a session, one after the other, for the composer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.message import Message

from tui_lora.ui.inspector import Answered, InspectorChanged
from tui_lora.ui.talking import TalkingPage

if TYPE_CHECKING:
    from tui_lora.store.heldout import HeldOut, Question
    from tui_lora.store.paths import SessionPaths

AT_MOST = 500
KINDS = {
    "labelled": ("text", "texts"),
    "text": ("beginning of a text", "beginnings of texts"),
}
TOLD = {"labelled": "true label", "text": "goes on"}
"""What the dataset's answer is called where it is none."""


class HeldOutRead(Message, bubble=False):
    """A session's held-out questions are known."""

    def __init__(self, paths: SessionPaths, found: HeldOut) -> None:
        self.paths, self.found = paths, found
        super().__init__()


class HeldOutElsewhere(Message, bubble=False):
    """Only the inspect worker can read a session's dataset."""

    def __init__(self, paths: SessionPaths, spec: dict[str, Any]) -> None:
        self.paths, self.spec = paths, spec
        super().__init__()


def read_held_out(paths: SessionPaths, limit: int = AT_MOST) -> HeldOutRead:
    """Read them from disk; raises UserError."""
    from tui_lora.store.heldout import held_out
    from tui_lora.store.spec_file import read_spec

    return HeldOutRead(paths, held_out(read_spec(paths.spec), limit))


class Deck:
    """Goes round the questions of the session that was read last."""

    def __init__(self) -> None:
        self.paths: SessionPaths | None = None
        self._questions: tuple[Question, ...] = ()
        self._source = ""
        self._at = -1
        self._drawn: dict[str, Question] = {}

    def take(self, fact: HeldOutRead) -> None:
        self.paths, self._questions, self._at = fact.paths, fact.found.questions, -1
        self._source = fact.found.source
        # What was drawn of another session is no row of this one.
        self._drawn = {}

    @property
    def about(self) -> str:
        """How many there are and where they are from, or why there are none."""
        if not self._questions:
            return f"nothing to ask: {self._source}."
        one, many = KINDS.get(self._questions[0].shape, ("question", "questions"))
        count = len(self._questions)
        return f"{count} {one if count == 1 else many}: {self._source}"

    def next(self) -> str | None:
        """The next question; None when there is none."""
        if not self._questions:
            return None
        self._at = (self._at + 1) % len(self._questions)
        drawn = self._questions[self._at]
        self._drawn[drawn.text.strip()] = drawn
        return drawn.text

    def found(self, text: str) -> Question | None:
        """The question that was drawn last with this text; None for what one wrote oneself."""
        return self._drawn.get(text.strip())


class DeckPage(TalkingPage):
    """A page that takes questions from the deck: `draw_question`, then `question_drawn`."""

    def __init__(self) -> None:
        super().__init__()
        self.deck = Deck()
        self._asked_of: SessionPaths | None = None

    def question_drawn(self, text: str) -> None:
        """The next question."""

    def draw_question(self, paths: SessionPaths | None) -> None:
        """The next of a session's held-out questions, read from disk when they are not known."""
        if paths is None:
            self.say("no session is chosen, so there is no dataset to take a question from.")
        elif paths == self.deck.paths:
            self._next()
        else:
            self._read(paths)

    @work(thread=True, exclusive=True, exit_on_error=False, group="held-out")
    def _read(self, paths: SessionPaths) -> None:
        from tui_lora.store.heldout import read_elsewhere
        from tui_lora.store.spec_file import read_spec

        spec = read_spec(paths.spec)
        if read_elsewhere(spec):
            self.post_message(HeldOutElsewhere(paths, spec.model_dump(mode="json")))
        else:
            self.post_message(read_held_out(paths))

    @on(HeldOutElsewhere)
    def _ask_worker(self, fact: HeldOutElsewhere) -> None:
        from tui_lora.core.inspect import ReadHeldOut

        self.say("the inspect worker reads the held-out rows …")
        self._asked_of = fact.paths
        inspector = self.bench.inspector
        inspector.answer_to(self.post_message, "held_out")
        inspector.start()
        inspector.ask("held_out", ReadHeldOut, spec=fact.spec, limit=AT_MOST)

    @on(Answered)
    def _worker_answered(self, fact: Answered) -> None:
        from tui_lora.core import inspect
        from tui_lora.store.heldout import HeldOut, Question

        fact.stop()
        asked, answer = self._asked_of, fact.answer
        if asked is None or fact.kind != "held_out":
            return
        if isinstance(answer, inspect.HeldOutRead):
            self._asked_of = None
            found = tuple(Question(**dict(one)) for one in answer.questions)
            self.post_message(HeldOutRead(asked, HeldOut(found, answer.source)))
        elif isinstance(answer, inspect.InspectFailed):
            self._asked_of = None
            self.say(answer.message, "error")

    @on(InspectorChanged)
    def _worker_changed_too(self, fact: InspectorChanged) -> None:
        fact.stop()
        if self._asked_of is not None and fact.state == "ended":
            self._asked_of = None
            self.say(f"the inspect worker ended: {fact.words}", "error")

    @on(HeldOutRead)
    def _held_out_read(self, fact: HeldOutRead) -> None:
        self.deck.take(fact)
        self.say(self.deck.about)
        self._next()

    def _next(self) -> None:
        text = self.deck.next()
        if text is None:
            self.say(self.deck.about, "warning")
        else:
            self.question_drawn(text)
