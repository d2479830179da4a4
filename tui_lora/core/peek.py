"""What a model answered while it trained: lines of evaluations/peeks.jsonl, and how they belong
together."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from tui_lora.core.chat import Chance, Turn
from tui_lora.core.text import clean

MOST_CHARS = 8000
"""Of a text in a line; what is longer is cut, and says so."""

COMPARED_WORDS = 1500
"""Beyond that many words two answers are not compared word by word: it takes the square of them."""

_WORDS = re.compile(r"\S+|\s+")

Source = Literal["spec", "held_out", "asked"]
"""Who asks: the spec's prompts, its held-out rows, or somebody by an order."""


class PeekAnswer(BaseModel):
    """One answer. Everything in it is clean.

    `key` is the same for the same question. `base`: the base's own answer, with which those of the
    adapter are compared; it has no step. `from_step` is where the attempt began that gave it. A
    classifier's has `chances`, the likeliest first, and no text. `seconds` are wall clock, `limit`
    is the tokens that it might have had, `ended_by` time: it took too long.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    v: int = 1
    t: float
    attempt: int
    from_step: int
    step: int
    key: str
    source: Source
    prompt: str
    system: str = ""
    reference: str = ""
    base: bool = False
    order: str = ""
    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    limit: int = 0
    ended_by: Literal["end", "length", "time", "label"] = "end"
    chances: tuple[Chance, ...] = ()

    @field_validator("prompt", "system", "reference", "text")
    @classmethod
    def _clean(cls, text: str) -> str:
        return clean(text)

    @field_validator("chances")
    @classmethod
    def _clean_labels(cls, chances: tuple[Chance, ...]) -> tuple[Chance, ...]:
        return tuple(one.model_copy(update={"label": clean(one.label)}) for one in chances)

    @property
    def said(self) -> str:
        """The answer in words: of a classifier its label."""
        return self.chances[0].label if self.chances else self.text


@dataclass
class Question:
    """A question with everything that was answered to it; `answers` by step, the earliest first."""

    key: str
    source: Source
    prompt: str
    system: str
    reference: str
    base: PeekAnswer | None = None
    answers: list[PeekAnswer] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether prompt and system prompt are all that was asked: there were no turns before, and
        nothing of the text was cut or cleaned away."""
        return key_of(turns_of(self.prompt, self.system)) == self.key

    def at(self, step: int) -> PeekAnswer | None:
        """The answer that stood at a step: the latest up to it."""
        return next((one for one in reversed(self.answers) if one.step <= step), None)


@dataclass(frozen=True)
class Piece:
    """A part of an answer; `new`: it was not in the answer before."""

    text: str
    new: bool


def turns_of(prompt: str, system: str = "") -> tuple[Turn, ...]:
    """What a worker asks its model when it is ordered to ask this."""
    user = Turn(role="user", content=prompt)
    return (Turn(role="system", content=system), user) if system.strip() else (user,)


def key_of(turns: Iterable[Turn]) -> str:
    """What is the same for the same question."""
    told = "\0".join(f"{turn.role}\0{turn.content}" for turn in turns)
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:12]


def shortened(text: str) -> str:
    """A text as it is kept: clean, and cut with a word on what is missing."""
    text = clean(text)
    if len(text) <= MOST_CHARS:
        return text
    return f"{text[:MOST_CHARS]} … ({len(text) - MOST_CHARS:,} more characters)"


def questions(answers: Iterable[PeekAnswer]) -> tuple[Question, ...]:
    """Answers in the order in which they were given, by question: those that the spec asks first.

    What an attempt answered behind the step from which a later one went on is of weights that are
    gone, and so it is left out; what somebody asked for stays.
    """
    found: dict[str, Question] = {}
    for one in _of_one_run(answers):
        question = found.setdefault(
            one.key, Question(one.key, one.source, one.prompt, one.system, one.reference)
        )
        if question.source == "asked" and one.source != "asked":
            question.source = one.source
        question.reference = question.reference or one.reference
        if one.base:
            question.base = one
            continue
        # Asked again at the same step: the weights are the same, the limit may not be.
        question.answers = [other for other in question.answers if other.step != one.step]
        question.answers.append(one)
    for question in found.values():
        question.answers.sort(key=lambda one: one.step)
    return tuple(sorted(found.values(), key=lambda question: question.source == "asked"))


def _of_one_run(answers: Iterable[PeekAnswer]) -> list[PeekAnswer]:
    kept: list[PeekAnswer] = []
    attempt = 0
    for one in answers:
        if one.attempt > attempt:
            attempt = one.attempt
            kept = [
                other
                for other in kept
                if other.base or other.step <= one.from_step or other.source == "asked"
            ]
        kept.append(one)
    return kept


def compared(before: str, after: str) -> tuple[Piece, ...]:
    """`after` in pieces, the words that `before` did not have marked as new."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if not old or max(len(old), len(new)) > COMPARED_WORDS:
        return (Piece(after, False),)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return tuple(
        Piece("".join(new[start:end]), what != "equal")
        for what, _, _, start, end in matcher.get_opcodes()
        if end > start
    )


def changed_words(pieces: Iterable[Piece]) -> int:
    """How many words are new."""
    return sum(len(piece.text.split()) for piece in pieces if piece.new)
