"""Answers whose givers are not told until somebody has said which is the best."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Mapping, Sequence

from textual.content import Content

from tui_lora.core.transcript import Answer, Exchange
from tui_lora.core.votes import Score, Vote, scores
from tui_lora.ui.ink import BRIGHT, dim, fitting, ink, join
from tui_lora.ui.voices import Voice, labelled, shortened

LETTERS = string.ascii_uppercase[:8]
TIE = "="


class Blind:
    """Whether it is so, what is voted on, and the score.

    The texts stay covered until all of them are there: how fast they come tells who writes.
    """

    def __init__(self, shuffle: random.Random | None = None) -> None:
        self.on = False
        self.score: dict[str, Score] = {}
        self._votes: dict[str, Vote] = {}
        self._shuffle = shuffle or random.SystemRandom()
        self._open: Exchange | None = None
        self._keys: dict[str, str] = {}

    @property
    def hiding(self) -> bool:
        """Whether there are answers of which it is not told who gave them."""
        return self._open is not None

    @property
    def letters(self) -> str:
        """The letters that can be voted for now; none before all answers are there."""
        if self._open is None or not self._open.ended:
            return ""
        return "".join(answer.alias for answer in _given(self._open))

    def mixed(self, voices: Sequence[Voice]) -> list[Voice]:
        """The voices in an order that nobody knows."""
        mixed = list(voices)
        self._shuffle.shuffle(mixed)
        return mixed

    def begin(self, exchange: Exchange, keys: Mapping[str, str]) -> None:
        """The answers to this message are voted on; `keys` say who each voice is in votes."""
        self._open, self._keys = exchange, dict(keys)

    def uncover(self) -> bool:
        """Show the texts, if all of them are there now; nobody's name. True where that is so."""
        if self._open is None or not self._open.ended:
            return False
        for answer in self._open.answers:
            answer.cover = "name"
        return True

    def vote(self, letter: str) -> tuple[Exchange, Vote] | None:
        """The answer with this letter is the best, or none is; tells who is who."""
        exchange = self._open
        if exchange is None or (letter != TIE and letter not in self.letters):
            return None
        best = next((a for a in exchange.answers if a.alias == letter), None)
        given = _given(exchange)
        for answer in given:
            answer.verdict = "tied" if best is None else "won" if answer is best else "lost"
        among = tuple(self._keys[answer.voice] for answer in given)
        won = self._keys[best.voice] if best is not None else None
        vote = Vote(uuid.uuid4().hex, among, won)
        self.count([vote])
        self.reveal()
        return exchange, vote

    def reveal(self) -> Exchange | None:
        """Tell who is who, voted or not."""
        exchange, self._open = self._open, None
        if exchange is not None:
            for answer in exchange.answers:
                answer.cover = ""
        return exchange

    def count(self, votes: Sequence[Vote]) -> None:
        """Votes that were given, each counted once, however often it is met."""
        self._votes |= {vote.id: vote for vote in votes}
        self.score = scores(self._votes.values())


def _given(exchange: Exchange) -> list[Answer]:
    """The answers that can be voted on: one that failed, or was stopped before its first word, says
    nothing of who gave it."""
    return [
        answer
        for answer in exchange.answers
        if answer.ended_by != "failed" and (answer.text or answer.ended_by != "cancel")
    ]


def score_row(
    voices: Sequence[Voice], score: Mapping[str, Score], model: str, width: int
) -> Content:
    """`won-tied-lost of votes` of every voice."""
    title = dim("won-tied-lost of votes")
    found = [score.get(voice.key(model), Score()) for voice in voices]
    figures = [f" {one.won}-{one.tied}-{one.lost} of {one.votes:,}" for one in found]
    room = width - title.cell_length - sum(len(text) for text in figures)
    names = shortened([labelled(voice.label, voice.strength) for voice in voices], room)
    pieces = [join(dim(name), ink(text, BRIGHT)) for name, text in zip(names, figures, strict=True)]
    return fitting([title, *pieces], width)
