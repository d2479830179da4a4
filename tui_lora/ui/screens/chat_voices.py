"""Who answers: one or all, muted, stronger or weaker, taken out; and blind, with a vote."""

from __future__ import annotations

from textual import on, work
from textual.content import Content
from textual.message import Message

from tui_lora.core.chat import BASE
from tui_lora.core.text import one_line, size
from tui_lora.core.transcript import Exchange
from tui_lora.core.votes import Vote
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.blind import LETTERS, TIE, Blind, score_row
from tui_lora.ui.chat_facts import VoiceGone
from tui_lora.ui.ink import dim, join, keys_row
from tui_lora.ui.screens.chat_answers import AnswersPage
from tui_lora.ui.voices import GIB, Voice
from tui_lora.ui.widgets.exchange import Talk

BLIND = "blind: everybody answers, nobody is named; letters vote."


class VotesRead(Message, bubble=False):
    """The votes that stand in the notes of the sessions concerned."""

    def __init__(self, votes: tuple[Vote, ...]) -> None:
        self.votes = votes
        super().__init__()


class VoicesPage(AnswersPage):
    def __init__(self) -> None:
        super().__init__()
        self.everybody = False
        self.blind = Blind()
        self._leaving: dict[str, str] = {}
        """Names of those that are being freed, by their voice."""

    @property
    def model(self) -> str:
        """The base's id, as votes name it."""
        target = self.conversation.target
        return target.model.id if target is not None else ""

    def asked(self, together: bool) -> list[Voice]:
        voices = self.conversation.voices
        if self.blind.on:
            return self.blind.mixed(voices.heard)
        if together or self.everybody:
            return voices.heard
        return [voices.next] if voices.next is not None else []

    def ask(self, exchange: Exchange, voices: list[Voice]) -> None:
        if not self.blind.on:
            super().ask(exchange, voices)
            return
        # One that was not voted on is over now.
        self.reveal()
        self.conversation.ask(exchange, self.sampling, voices, aliases=LETTERS)
        self.blind.begin(exchange, {voice.name: voice.key(self.model) for voice in voices})
        # Letters vote as soon as the answers are there, so they are not written.
        self.query_one(Talk).focus()

    def ended(self, exchange: Exchange) -> None:
        if not self.blind.uncover():
            return
        self.draw(exchange.answers)
        if len(self.blind.letters) < 2:
            self.reveal()
            self.say("fewer than two have answered, so there is no vote.", "warning")
        self.show_score()

    def reveal(self) -> None:
        """Tell who is who in what was not voted on."""
        exchange = self.blind.reveal()
        if exchange is not None:
            self.draw(exchange.answers)

    def show_score(self) -> None:
        """Draw what can be voted for, or the score."""

    def score_content(self, width: int) -> Content:
        letters = self.blind.letters
        if letters:
            keys = [(letter.lower(), letter) for letter in letters]
            asked = dim("the best answer?   ")
            row = keys_row([*keys, (TIE, "a tie"), ("Enter", "no vote")], width)
            return join(asked, row)
        if self.blind.hiding:
            return dim("all of them are shown once the last is written; then one votes.")
        return score_row(self.conversation.voices.all, self.blind.score, self.model, width)

    # Intents.

    def action_new(self, where: str = "") -> None:
        self.reveal()
        super().action_new(where)
        self.show_score()

    def action_switch(self, by: int) -> None:
        self.conversation.voices.step(by)
        self.show_link()
        self.refresh_bindings()

    def action_everybody(self) -> None:
        self.everybody = not self.everybody
        self.say("each message goes to all." if self.everybody else "each message goes to one.")
        self.show_link()

    def action_mute(self) -> None:
        voices = self.conversation.voices
        voice = voices.next
        if voice is not None and not voice.muted and len(voices.heard) == 1:
            self.say("nobody would be left to answer.", "warning")
            return
        voices.mute()
        self.show_link()

    def action_unload(self) -> None:
        voice = self.conversation.voices.next
        if voice is None or voice.name == BASE:
            self.say("the base carries the others; v mutes it, U puts all away.", "warning")
            return
        self._leaving[voice.name] = one_line(voice.label)
        self.conversation.leave()
        self.say(f"{one_line(voice.label)} takes part no more.")
        self._fewer()

    @on(VoiceGone)
    def _voice_gone(self, fact: VoiceGone) -> None:
        label = self._leaving.pop(fact.name, "")
        if fact.problem:
            # The row of what is in memory says why.
            self.conversation.voices.drop(fact.name)
            self._fewer()
        elif label:
            held = f"the {size(fact.gib * GIB)} that it held are" if fact.gib else "what it held is"
            self.say(f"{label} takes part no more; {held} free.")

    def _fewer(self) -> None:
        if self.blind.on and len(self.conversation.voices) < 2:
            self.blind.on = False
            self.reveal()
        self.show_link()
        self.show_score()
        self.refresh_bindings()

    def action_strength(self, by: float) -> None:
        voices = self.conversation.voices
        fixed = self.link.state.fixed.get(voices.next.name, "") if voices.next else ""
        if fixed:
            self.say(f"its strength stays: {fixed}.", "warning")
            return
        voices.strengthen(by)
        self.show_link()
        self.show_score()

    def action_blind(self) -> None:
        heard = len(self.conversation.voices.heard)
        if not self.blind.on and not 2 <= heard <= len(LETTERS):
            self.say(f"a vote is among 2 to {len(LETTERS)} voices; {heard} answer.", "warning")
            return
        self.blind.on = not self.blind.on
        if self.blind.on:
            self.say(BLIND)
            self.read_votes()
        else:
            self.reveal()
            self.say("everybody is named again.")
        self.show_link()
        self.show_score()
        self.refresh_bindings()

    def action_vote(self, letter: str) -> None:
        voted = self.blind.vote(letter)
        if voted is None:
            return
        exchange, vote = voted
        self.draw(exchange.answers)
        names = {answer.voice for answer in exchange.answers if answer.verdict}
        there = [v.session for v in self.conversation.voices.all if v.name in names]
        concerned = [paths for paths in there if paths is not None]
        if concerned:
            self._keep_vote(concerned, vote)
            best = next((a for a in exchange.answers if a.verdict == "won"), None)
            self.say(f"{letter} is {one_line(best.label)}." if best is not None else "a tie.")
        else:
            self.say("no session takes part, so this vote is not kept.", "warning")
        self.show_link()
        self.show_score()
        self.refresh_bindings()

    @work(thread=True, exit_on_error=False, group="votes")
    def _keep_vote(self, concerned: list[SessionPaths], vote: Vote) -> None:
        from tui_lora.store.votes import keep_vote

        keep_vote(concerned, vote)

    def read_votes(self) -> None:
        """Count what is in the notes of the sessions that take part."""
        self._read_votes(self.conversation.voices.sessions)

    @work(thread=True, exclusive=True, exit_on_error=False, group="votes-read")
    def _read_votes(self, concerned: list[SessionPaths]) -> None:
        from tui_lora.store.votes import read_votes

        self.post_message(VotesRead(read_votes(concerned)))

    @on(VotesRead)
    def _votes_read(self, fact: VotesRead) -> None:
        self.blind.count(fact.votes)
        self.show_score()
