"""What is done with messages and answers: sent, stopped, changed, carried on, asked again."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from textual import on
from textual.widgets import Input

from tui_lora.core.sampling_set import SamplingSet
from tui_lora.core.text import one_line
from tui_lora.core.transcript import Answer, Exchange
from tui_lora.ui.chat_facts import AnswerCame, AnswerOver
from tui_lora.ui.conversation import Conversation
from tui_lora.ui.held_out_deck import TOLD, DeckPage
from tui_lora.ui.messages import Said
from tui_lora.ui.screens.sampling import SamplingForm
from tui_lora.ui.voices import Voice
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.exchange import Talk

if TYPE_CHECKING:
    from tui_lora.store.heldout import Question

WAIT = "an answer is still being written; Esc stops it."
ALONE = "a row of the dataset is asked alone: nothing that was said before it is read."
AS_TEXT = "the beginning of a text is carried on as it stands, without any template."
CARRIES_ON = "a text is carried on as it stands, without any template; c chats again."


class AnswersPage(DeckPage):
    """A page with a `Talk`, a `Composer` and one conversation."""

    def __init__(self) -> None:
        super().__init__()
        self.sampling = SamplingSet()
        self.completing = False
        self.editing: Exchange | None = None

    @cached_property
    def conversation(self) -> Conversation:
        return Conversation(self.link, self._not_kept)

    def on_unmount(self) -> None:
        self.conversation.close()

    # What the page decides.

    def begin(self) -> None:
        """Nothing was said yet: show what may be done."""

    def asked(self, together: bool) -> list[Voice]:
        """Who answers a message."""
        raise NotImplementedError

    def ask(self, exchange: Exchange, voices: list[Voice]) -> None:
        """Have them answer it."""
        self.conversation.ask(exchange, self.sampling, voices)

    def ended(self, exchange: Exchange) -> None:
        """One of its answers has come to its end."""

    # Sending.

    @on(Input.Submitted, "#composer")
    def _sent(self) -> None:
        self.send(together=False)

    def send(self, *, together: bool) -> None:
        composer = self.query_one(Composer)
        if not composer.text:
            return
        if not self.conversation.voices.all:
            self.say("nobody is here to answer; t chooses who does.", "warning")
            return
        if self.conversation.running:
            self.say(WAIT, "warning")
            return
        text = composer.take()
        known = self.deck.found(text)
        exchange = self._message(text, known)
        self._cut()
        if exchange.opening is not None and not self.conversation.predicting:
            self._tell_alone(exchange)
        self.ask(exchange, self.asked(together))
        told = TOLD.get(known.shape, "reference") if known else "reference"
        self.query_one(Talk).add(exchange, told=told)
        self.show_link()
        self.refresh_bindings()

    def _message(self, text: str, known: Question | None) -> Exchange:
        """What is asked; a row of a dataset as it stands there, and so too where one changes the
        words of it."""
        before, plain = self.editing, self.completing
        if known is not None:
            # Whatever a model would say of it in a chat, a text does not go on with that.
            plain = plain or known.shape == "text"
            return Exchange(
                known.text, reference=known.reference, plain=plain, opening=known.turns[:-1]
            )
        if before is None or before.opening is None:
            return Exchange(text, plain=plain)
        reference = before.reference if text == before.question.strip() else ""
        return Exchange(
            text, reference=reference, plain=plain or before.plain, opening=before.opening
        )

    def _tell_alone(self, exchange: Exchange) -> None:
        if exchange.plain:
            self.say(AS_TEXT)
        elif self.conversation.transcript.exchanges:
            self.say(ALONE)

    @on(AnswerCame)
    def _came(self, fact: AnswerCame) -> None:
        answer = self.conversation.came(fact.id, fact.text, fact.tokens)
        if answer is not None and answer.cover != "all":
            self.query_one(Talk).draw(answer)

    @on(AnswerOver)
    def _over(self, fact: AnswerOver) -> None:
        found = self.conversation.over(fact.id, fact.ended, fact.problem)
        if found is not None:
            exchange, answer = found
            self.ended(exchange)
            self.query_one(Talk).draw(answer)
        self.refresh_bindings()

    def draw(self, answers: list[Answer]) -> None:
        for answer in answers:
            self.query_one(Talk).draw(answer)

    def _not_kept(self, error: OSError) -> None:
        # Called in the writing thread; posting is safe there.
        self.post_message(Said(f"the chat could not be kept: {error.strerror}.", "error"))

    # Intents.

    def action_stop(self) -> None:
        stopped = self.conversation.stop()
        if stopped and (last := self.conversation.transcript.last) is not None:
            self.ended(last)
        self.draw(stopped)
        self.refresh_bindings()

    def action_together(self, where: str = "") -> None:
        if self.query_one(Composer).text:
            self.send(together=True)
        elif self.conversation.running:
            self.say(WAIT, "warning")
        elif (added := self.conversation.catch_up()) is not None:
            self.query_one(Talk).add_answers(*added)
            self._tell_how(added[1][0])
            self.refresh_bindings()
        else:
            self.say("write a message first; then everybody answers it.")

    def _tell_how(self, answer: Answer) -> None:
        """Say so where an answer was not drawn with what is set now."""
        if answer.drawn is not None and not answer.drawn.same(self.sampling):
            how = one_line(answer.drawn.stated(), max_chars=80)
            self.say(f"drawn as the answer beside it: {how}; r draws with what is set now.")

    def action_regenerate(self) -> None:
        made = self.conversation.again(self.sampling)
        if made is None:
            return
        exchange, answer, before = made
        if before is None:
            self.query_one(Talk).add_answers(exchange, [answer])
        else:
            self._put(answer, before)
        if before is not None and _greedy_alike(answer, before):
            self.say("greedy: the same settings give the same answer; g sets a temperature.")

    def action_carry_on(self) -> None:
        made = self.conversation.carry_on(self.sampling)
        if made is None:
            self.say("nobody who takes part gave this answer.", "warning")
            return
        _, answer, before = made
        self._put(answer, before)

    def _put(self, answer: Answer, before: Answer) -> None:
        self.query_one(Talk).replace(answer, before)
        self.refresh_bindings()

    def action_edit(self) -> None:
        """The last message, or the one before that which is changed already."""
        exchanges = self.conversation.transcript.exchanges
        at = len(exchanges)
        if self.editing in exchanges:
            at = exchanges.index(self.editing)
        self.editing = exchanges[at - 1]
        composer = self.query_one(Composer)
        composer.write(self.editing.question)
        composer.focus()
        number = (at - 1) % len(exchanges) + 1
        after = len(exchanges) - number
        gone = f", and the {after} after it go" if after else ""
        self.say(
            f"message {number} of {len(exchanges)}: Enter sends it anew{gone}; Esc, e takes the "
            "one before."
        )

    def leave_editing(self) -> None:
        self.editing = None
        self.query_one(Composer).value = ""
        self.say("nothing was changed.")
        self.refresh_bindings()

    def _cut(self) -> None:
        """Leave out what is written anew, and all that came after it."""
        editing, self.editing = self.editing, None
        if editing is not None and editing in self.conversation.transcript.exchanges:
            self.conversation.cut(editing)
            self.query_one(Talk).cut(editing)

    def action_new(self, where: str = "") -> None:
        self.editing = None
        self.conversation.renew()
        self.begin()
        self.query_one(Composer).focus()
        self.refresh_bindings()

    def action_sampling(self, where: str = "") -> None:
        def kept(sampling: SamplingSet | None) -> None:
            if sampling is not None:
                self.sampling = sampling
                self.show_link()

        self.app.push_screen(SamplingForm(self.sampling), kept)

    def action_completion(self) -> None:
        self.completing = not self.completing
        self.say(CARRIES_ON if self.completing else "messages are answered in a chat again.")
        self.show_link()

    def action_markdown(self) -> None:
        talk = self.query_one(Talk)
        talk.render_as(not talk.rendered)
        self.say("Markdown is drawn." if talk.rendered else "answers as they were written.")

    def action_page(self, pages: int) -> None:
        talk = self.query_one(Talk)
        talk.scroll_relative(y=pages * max(1, talk.size.height - 2), animate=False)

    def action_held_out(self) -> None:
        voice = self.conversation.voices.next
        self.draw_question((voice.session if voice is not None else None) or self.bench.session)

    def question_drawn(self, text: str) -> None:
        self.query_one(Composer).write(text)
        self.query_one(Composer).focus()


def _greedy_alike(one: Answer, other: Answer) -> bool:
    """Whether two answers of a voice were given greedily, with the same settings and strength."""
    if one.drawn is None or other.drawn is None or not one.drawn.values.greedy:
        return False
    return one.drawn.same(other.drawn) and one.strength == other.strength
