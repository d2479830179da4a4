"""A conversation with several voices: each message asked, and the answers that came to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tui_lora.core.chat import AnswerEnded, Chance, Predicted, Turn

Ending = Literal["", "end", "length", "cancel", "stop", "failed"]


@dataclass
class Answer:
    """What `voice` (the name on the wire) answers; `ended_by` is empty while it is written.

    `tokens_per_s` counts from the asking to the end, prompt included. A classifier's answer is
    its likeliest label, with every label's chance in `chances`; its tokens are those it read.
    """

    id: str
    voice: str
    label: str
    text: str = ""
    tokens: int = 0
    ended_by: Ending = ""
    seconds: float | None = None
    problem: str = ""
    chances: tuple[Chance, ...] = ()

    @property
    def running(self) -> bool:
        return self.ended_by == ""

    @property
    def tokens_per_s(self) -> float | None:
        return self.tokens / self.seconds if self.seconds and self.tokens else None

    def end(self, ended: AnswerEnded | Predicted) -> None:
        self.seconds = ended.seconds
        if isinstance(ended, Predicted):
            self.chances, self.ended_by = ended.chances, "end"
            self.text = ended.chances[0].label if ended.chances else ""
            self.tokens = ended.prompt_tokens
        else:
            self.text, self.tokens, self.ended_by = ended.text, ended.tokens, ended.ended_by

    def fail(self, problem: str) -> None:
        """It ends here; what was written stays."""
        self.problem, self.ended_by = problem, "failed"


@dataclass
class Exchange:
    """A message and its answers. `reference` is what the dataset answers, where known."""

    question: str
    answers: list[Answer] = field(default_factory=list)
    reference: str = ""

    def by(self, voice: str) -> Answer | None:
        """The last answer of a voice."""
        return next((a for a in reversed(self.answers) if a.voice == voice), None)


class Transcript:
    """The exchanges of one conversation, in order."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    @property
    def running(self) -> list[Answer]:
        return [a for exchange in self.exchanges for a in exchange.answers if a.running]

    def answer(self, id: str) -> tuple[Exchange, Answer] | None:
        for exchange in reversed(self.exchanges):
            for answer in exchange.answers:
                if answer.id == id:
                    return exchange, answer
        return None

    def turns(self, exchange: Exchange, voice: str, system: str = "") -> tuple[Turn, ...]:
        """What `voice` is given to answer `exchange`.

        It reads its own earlier answers, or another voice's where it did not answer itself; a
        message that nobody answered is left out, since templates want the turns to alternate.
        """
        turns = [Turn(role="system", content=system)] if system else []
        for earlier in self.exchanges:
            if earlier is exchange:
                break
            said = earlier.by(voice)
            if said is None or not said.text:
                said = next((a for a in reversed(earlier.answers) if a.text), None)
            if said is None:
                continue
            turns.append(Turn(role="user", content=earlier.question))
            turns.append(Turn(role="assistant", content=said.text))
        return (*turns, Turn(role="user", content=exchange.question))
