"""What is kept of talking: conversations, corrections, prompts; and the tokens of an answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from textual import on, work
from textual.message import Message

from tui_lora.core.chat import LookAtTokens, Turn
from tui_lora.core.chat_export import can_be_corrected, is_whole
from tui_lora.core.kept_chat import KeptChat
from tui_lora.core.text import one_line
from tui_lora.core.transcript import Answer, Exchange
from tui_lora.store.corrections import Kept, corrections_file, keep
from tui_lora.store.kept_voices import Reopened, reopened
from tui_lora.store.paths import SessionPaths
from tui_lora.store.prompts import keep_prompt, own_prompts, prompts_file
from tui_lora.ui.messages import Said
from tui_lora.ui.screens.chat_voices import VoicesPage
from tui_lora.ui.screens.conversations import ConversationsScreen
from tui_lora.ui.screens.correction import Correctable, CorrectionForm
from tui_lora.ui.screens.tokens import TokensScreen
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.exchange import Talk

READ_ONLY = "nobody of it can be loaded, so it can only be read; t chooses who goes on."


class KeptFound(Message, bubble=False):
    """Who of a kept conversation can be loaded is known."""

    def __init__(self, path: Path, found: Reopened) -> None:
        self.path, self.found = path, found
        super().__init__()


class PromptsRead(Message, bubble=False):
    """The user's own prompts."""

    def __init__(self, prompts: tuple[str, ...]) -> None:
        self.prompts = prompts
        super().__init__()


class KeptPage(VoicesPage):
    def __init__(self) -> None:
        super().__init__()
        self._prompt_at = -1

    def rules_of_kept(self) -> dict[str, Callable[[], bool]]:
        """When what is here makes sense."""

        def seen() -> bool:
            return not self.has_class("-choosing") and not self.blind.hiding

        def answered() -> bool:
            return seen() and self._at_hand() is not None

        def alive() -> bool:
            return answered() and self.link.state.alive and not self.conversation.predicting

        return {
            "conversations": lambda: not self.conversation.running,
            "correct": answered,
            "keep_answer": answered,
            "tokens": alive,
            "own_prompt": lambda: not self.has_class("-choosing"),
            "keep_prompt": lambda: not self.has_class("-choosing"),
        }

    def _at_hand(self) -> tuple[Exchange, Answer] | None:
        """What the next voice answered to the last message, or else the last answer to it."""
        exchange = self.conversation.transcript.last
        if exchange is None or not exchange.answers:
            return None
        voice = self.conversation.voices.next
        own = exchange.by(voice.name) if voice is not None else None
        return exchange, own or exchange.answers[-1]

    def _turns(self, exchange: Exchange, answer: Answer) -> tuple[Turn, ...]:
        """What the answer was given to."""
        return self.conversation.transcript.turns(exchange, answer.voice, answer.system)

    def _session_of(self, answer: Answer) -> SessionPaths | None:
        voices = self.conversation.voices
        own = next((v.session for v in voices.all if v.name == answer.voice), None)
        return own or next(iter(voices.sessions), None)

    # Conversations.

    def action_conversations(self) -> None:
        def chosen(found: tuple[Path, KeptChat] | None) -> None:
            if found is not None:
                self.reopen(*found)

        screen = ConversationsScreen(self.bench.root, self.conversation.path)
        self.app.push_screen(screen, chosen)

    def reopen(self, path: Path, kept: KeptChat) -> None:
        """Show a kept conversation, and have loaded who can be, so that it goes on."""
        from tui_lora.store.sampling_sets import as_kept

        if path == self.conversation.path:
            return
        self.reveal()
        self.blind.on = False
        self.editing = None
        self.conversation.reopen(kept, path)
        self.sampling = as_kept(kept.sampled) or self.sampling
        last = kept.transcript.last
        self.completing = last is not None and last.plain
        self.everybody = last is not None and len(last.answers) > 1
        self.remove_class("-choosing")
        talk = self.query_one(Talk)
        talk.clear()
        for exchange in kept.transcript.exchanges:
            talk.add(exchange)
        talk.focus()
        self.show_link()
        self.show_score()
        self.refresh_bindings()
        self._look_for_voices(path, kept)

    @work(thread=True, exclusive=True, exit_on_error=False, group="reopen")
    def _look_for_voices(self, path: Path, kept: KeptChat) -> None:
        self.post_message(KeptFound(path, reopened(self.bench.root, kept)))

    @on(KeptFound)
    def _kept_found(self, fact: KeptFound) -> None:
        if fact.path != self.conversation.path:
            return
        if fact.found.missing:
            more = len(fact.found.missing) - 1
            others = f" (and {more} more)" if more else ""
            self.say(f"read only: {fact.found.missing[0]}{others}", "warning")
        if fact.found.targets:
            self.talk_to(*fact.found.targets)
        elif not fact.found.missing:
            self.say(READ_ONLY, "warning")

    # Corrections.

    def action_correct(self) -> None:
        found: list[Correctable] = []
        at = 0
        here = self._at_hand()
        why = ""
        for exchange in self.conversation.transcript.exchanges:
            for answer in exchange.answers:
                problem = can_be_corrected(exchange, answer)
                if here is not None and answer is here[1]:
                    at, why = len(found), problem
                if not problem:
                    turns = self._turns(exchange, answer)
                    found.append(Correctable(answer.label, exchange.question, turns, answer.text))
        if here is None or why or not found:
            self.say(why or "there is no answer to correct.", "warning")
            return

        def kept(row: Kept | None) -> None:
            if row is not None:
                self.say(row.words, "good")

        file = corrections_file(self._session_of(here[1]))
        self.app.push_screen(CorrectionForm(found, at, file), kept)

    def action_keep_answer(self) -> None:
        here = self._at_hand()
        if here is None:
            return
        exchange, answer = here
        why = can_be_corrected(exchange, answer)
        if not why and not is_whole(answer):
            why = "it is not whole; + carries it on, E corrects it."
        if why:
            self.say(why, "warning")
            return
        file = corrections_file(self._session_of(answer))
        self._keep_row(file, self._turns(exchange, answer), answer.text)

    @work(thread=True, exit_on_error=False, group="rows")
    def _keep_row(self, file: Path, turns: tuple[Turn, ...], text: str) -> None:
        self.post_message(Said(keep(file, turns, text).words, "good"))

    # Tokens.

    def action_tokens(self) -> None:
        here = self._at_hand()
        if here is None:
            return
        exchange, answer = here
        there = {voice.name for voice in self.conversation.voices.all}
        if answer.voice not in there:
            self.say(f"{one_line(answer.label)} is not loaded, so nobody can say.", "warning")
            return
        look = LookAtTokens(
            id=uuid.uuid4().hex,
            answer_id=answer.id,
            name=answer.voice,
            turns=self._turns(exchange, answer),
            text=answer.text,
            strength=answer.strength,
            plain=exchange.plain,
        )
        self.app.push_screen(TokensScreen(self.link, look, answer.label))

    # Prompts.

    def action_own_prompt(self) -> None:
        self._read_prompts()

    @work(thread=True, exclusive=True, exit_on_error=False, group="prompts")
    def _read_prompts(self) -> None:
        self.post_message(PromptsRead(own_prompts()))

    @on(PromptsRead)
    def _prompts_read(self, fact: PromptsRead) -> None:
        if not fact.prompts:
            self.say("no prompt of your own is kept yet; P keeps the message that stands here.")
            return
        self._prompt_at = (self._prompt_at + 1) % len(fact.prompts)
        composer = self.query_one(Composer)
        composer.write(fact.prompts[self._prompt_at])
        composer.focus()
        self.say(f"prompt {self._prompt_at + 1} of {len(fact.prompts)}, from {prompts_file()}")

    def action_keep_prompt(self) -> None:
        last = self.conversation.transcript.last
        text = self.query_one(Composer).text or (last.question if last is not None else "")
        if text:
            self._keep_prompt(text)
        else:
            self.say("write a message first; then P keeps it.")

    @work(thread=True, exit_on_error=False, group="prompts-kept")
    def _keep_prompt(self, text: str) -> None:
        many = keep_prompt(text)
        if many is None:
            self.post_message(Said("this prompt is kept already; l goes through them."))
        else:
            self.post_message(Said(f"kept as prompt {many}, in {prompts_file()}", "good"))
