"""Chat: talk to a base and the adapters on it. Layout and intents; the worker is `chat_link`."""

from __future__ import annotations

import time

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input

from tui_lora.core.text import one_line
from tui_lora.core.transcript import Answer
from tui_lora.store.adapters import ChatTarget
from tui_lora.ui.chat_facts import AnswerCame, AnswerOver
from tui_lora.ui.conversation import Conversation, voices_row
from tui_lora.ui.held_out_deck import TOLD, DeckPage
from tui_lora.ui.ink import ACCENT, DIM, STRONG, between, dim, ink, join, right
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import Said
from tui_lora.ui.screens.chat_keys import KEYS, TYPING
from tui_lora.ui.screens.sampling import Sampling, SamplingForm
from tui_lora.ui.talking import link_row
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.exchange import Prose, Talk
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.target_list import TargetList

HINTS = (
    ("Enter", "sends; Esc leaves the writing, and single keys hold"),
    ("Tab", "switches who answers next; nothing is loaded again"),
    ("^s", "everybody answers, side by side; also the last message again"),
    ("h", "outside the writing: the next held-out question"),
)
PREDICT_HINTS = (
    ("Enter", "says which label the text has; Esc leaves the writing, and single keys hold"),
    ("h", "outside the writing: the next held-out text, with its true label"),
    ("↑", "what you asked before"),
)
WAIT = "an answer is still being written; Esc stops it."


class ChatScreen(DeckPage):
    TITLE_WORD = "Chat"
    CSS_PATH = "chat.tcss"
    HELP = (
        "Talk to a model, and to adapters on it. The base is loaded once; Tab switches who answers "
        "next, without loading again. Each voice reads its own earlier answers, and another's only "
        "where it gave none. With a session's adapter the conversation is kept in its chats/ "
        "folder. A classifier gives labels instead: each with its probability, the likeliest "
        "first. The chat worker ends when you leave."
    )
    BINDINGS = KEYS

    def __init__(self) -> None:
        super().__init__()
        self.sampling = Sampling()
        self.conversation: Conversation

    def compose_body(self) -> ComposeResult:
        yield TargetList(self.bench.root, id="targets")
        yield Line(id="voices")
        yield Prose(id="link")
        yield Talk(id="talk")
        with Horizontal(id="ask"):
            yield Line(id="prompt")
            yield Composer(id="composer")

    def on_mount(self) -> None:
        self.conversation = Conversation(self.link, self._not_kept)
        keys = [("p", "an adapter's folder or a model, by its path")]
        keys += [("2", "put a run together; its adapter appears here")] if place("model") else []
        keys += [("1", "look at the sessions")]
        about = "Here you talk to a model and to the adapters on it. No session has an adapter yet."
        self.query_one(TargetList).show_empty(about, *keys)
        self._choose()

    def on_unmount(self) -> None:
        self.conversation.close()

    def on_screen_resume(self) -> None:
        if self.choosing:
            self._list()
        elif (chosen := self.bench.session) is not None and all(
            voice.session != chosen for voice in self.conversation.voices
        ):
            self.say(f"t talks to {chosen.name}, which is chosen now.")

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_link)

    def on_descendant_focus(self) -> None:
        self._show_prompt()

    def on_descendant_blur(self) -> None:
        self._show_prompt()

    @property
    def choosing(self) -> bool:
        return self.has_class("-choosing")

    @property
    def writing(self) -> bool:
        return isinstance(self.focused, Composer)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached or not self.query(Composer):
            return True
        if parameters == (TYPING,) and not self.writing:
            return False
        if action == "stop":
            return self.conversation.running and not self.choosing
        if action == "leave":
            there = self.query_one(TargetList).typing or bool(self.conversation.voices)
            return self.writing or (self.choosing and there)
        if action == "path":
            return self.choosing and not self.query_one(TargetList).typing
        if action == "again":
            return self.link.state.phase == "ended" and not self.choosing
        if action in ("switch", "together"):
            return not self.choosing and len(self.conversation.voices) > 1
        if action == "write":
            return not self.choosing and not self.writing
        if action == "sampling" and self.conversation.predicting:
            return False
        if action in ("held_out", "new", "sampling", "targets", "page"):
            return not self.choosing
        return True

    def show_link(self) -> None:
        width = self.size.width - 2
        sampled = "" if self.conversation.predicting else f"  {self.sampling.words()}"
        row = between(voices_row(self.conversation), dim(sampled), width)
        self.query_one("#voices", Line).say(row)
        self.query_one("#link", Prose).say(link_row(self.link.state, width, time.monotonic()))
        voice = self.conversation.next_voice
        to = one_line(voice.label) if voice is not None else ""
        hint = f"a message to {to}" if self.writing else "Enter writes a message"
        if self.conversation.predicting:
            hint = f"a text for {to} to label" if self.writing else "Enter writes a text"
        self.query_one(Composer).placeholder = hint

    def _show_prompt(self) -> None:
        self.query_one("#prompt", Line).say(ink("›", ACCENT if self.writing else DIM))
        self.show_link()
        self.refresh_bindings()

    # Choosing.

    def _choose(self) -> None:
        self.add_class("-choosing")
        self.query_one(TargetList).take_focus()
        self._list()

    def _list(self) -> None:
        chosen = self.bench.session
        self.query_one(TargetList).read(chosen.name if chosen is not None else "")

    @on(TargetList.Chosen)
    def _chosen(self, fact: TargetList.Chosen) -> None:
        self.talk_to(fact.target)

    def opened(self, target: ChatTarget) -> None:
        if self.conversation.join(target):
            self.say("another base, so a new conversation begins.")
        if not self.conversation.transcript.exchanges:
            self._begin()
        self._chat()

    def _chat(self) -> None:
        self.query_one(TargetList).leave_path()
        self.remove_class("-choosing")
        self.query_one(Composer).focus()
        self.show_link()

    def _begin(self) -> None:
        known = PREDICT_HINTS if self.conversation.predicting else HINTS
        hints = [join(right((key, STRONG), 5), dim(f"   {words}")) for key, words in known]
        self.query_one(Talk).clear(*hints)

    # Talking.

    @on(Input.Submitted, "#composer")
    def _sent(self) -> None:
        self._send(together=False)

    def _send(self, *, together: bool) -> None:
        composer = self.query_one(Composer)
        if not composer.text or not self.conversation.voices:
            return
        if self.conversation.running:
            self.say(WAIT, "warning")
            return
        text = composer.take()
        known = self.deck.found(text)
        exchange = self.conversation.ask(
            text, self.sampling, together=together, reference=known.reference if known else ""
        )
        told = TOLD.get(known.shape, "reference") if known else ""
        self.query_one(Talk).add(exchange, told=told)
        self.refresh_bindings()

    @on(AnswerCame)
    def _came(self, fact: AnswerCame) -> None:
        self._draw(self.conversation.came(fact.id, fact.text, fact.tokens))

    @on(AnswerOver)
    def _over(self, fact: AnswerOver) -> None:
        self._draw(self.conversation.over(fact.id, fact.ended, fact.problem))
        self.refresh_bindings()

    def _draw(self, answer: Answer | None) -> None:
        if answer is not None:
            self.query_one(Talk).draw(answer)

    def _not_kept(self, error: OSError) -> None:
        # Called in the writing thread; posting is safe there.
        self.post_message(Said(f"the chat could not be kept: {error.strerror}.", "error"))

    # Intents.

    def action_write(self) -> None:
        self.query_one(Composer).focus()

    def action_leave(self) -> None:
        targets = self.query_one(TargetList)
        if targets.typing:
            targets.leave_path()
        elif self.choosing:
            self._chat()
        else:
            self.query_one(Talk).focus()

    def action_stop(self) -> None:
        for answer in self.conversation.stop():
            self._draw(answer)
        self.refresh_bindings()

    def action_switch(self) -> None:
        self.conversation.switch()
        self.show_link()

    def action_together(self, where: str = "") -> None:
        if self.query_one(Composer).text:
            self._send(together=True)
        elif self.conversation.running:
            self.say(WAIT, "warning")
        elif (added := self.conversation.catch_up(self.sampling)) is not None:
            self.query_one(Talk).add_answers(*added)
            self.refresh_bindings()
        else:
            self.say("write a message first; then everybody answers it.")

    def action_new(self, where: str = "") -> None:
        self.conversation.renew()
        self._begin()
        self.query_one(Composer).focus()
        self.refresh_bindings()

    def action_targets(self, where: str = "") -> None:
        self._choose()

    def action_path(self) -> None:
        self.query_one(TargetList).ask_path()

    def action_again(self, where: str = "") -> None:
        if self.conversation.target is not None:
            self.talk_to(self.conversation.target)

    def action_sampling(self, where: str = "") -> None:
        def kept(sampling: Sampling | None) -> None:
            if sampling is not None:
                self.sampling = sampling
                self.show_link()

        self.app.push_screen(SamplingForm(self.sampling), kept)

    def action_page(self, pages: int) -> None:
        talk = self.query_one(Talk)
        talk.scroll_relative(y=pages * max(1, talk.size.height - 2), animate=False)

    def action_held_out(self) -> None:
        voice = self.conversation.next_voice
        self.draw_question((voice.session if voice is not None else None) or self.bench.session)

    def question_drawn(self, text: str) -> None:
        self.query_one(Composer).write(text)
        self.query_one(Composer).focus()
