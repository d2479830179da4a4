"""A conversation with several voices: each message asked, and the answers that came to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tui_lora.core.chat import AnswerEnded, Chance, Predicted, Turn

Ending = Literal["", "end", "length", "cancel", "stop", "failed"]
Cover = Literal["", "name", "all"]
"""What of an answer is kept from the reader: who gave it, or its text too."""
Verdict = Literal["", "won", "tied", "lost"]


@dataclass
class Answer:
    """What `voice` (the name on the wire) answers; `ended_by` is empty while it is written.

    `tokens_per_s` counts from the asking to the end, prompt included. A classifier's answer is
    its likeliest label, with every label's chance in `chances`; its tokens are those it read.
    `begun` and `begun_tokens` are what stood there before it was carried on; `alias` is its name
    while nobody may know who gave it, and `verdict` how it was voted.
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
    first_token_s: float | None = None
    context_left: int | None = None
    strength: float = 1.0
    seed: int | None = None
    begun: str = ""
    begun_tokens: int = 0
    alias: str = ""
    cover: Cover = ""
    verdict: Verdict = ""

    @property
    def running(self) -> bool:
        return self.ended_by == ""

    @property
    def tokens_per_s(self) -> float | None:
        drawn = self.tokens - self.begun_tokens
        return drawn / self.seconds if self.seconds and drawn else None

    @property
    def cut(self) -> bool:
        """Whether there may be more of it than was written."""
        return self.ended_by in ("length", "cancel", "stop") and bool(self.text)

    def grow(self, text: str, tokens: int) -> None:
        """It has this text and as many tokens by now, after what was begun."""
        self.text, self.tokens = self.begun + text, self.begun_tokens + tokens

    def end(self, ended: AnswerEnded | Predicted) -> None:
        self.seconds = ended.seconds
        if isinstance(ended, Predicted):
            self.chances, self.ended_by = ended.chances, "end"
            self.text = ended.chances[0].label if ended.chances else ""
            self.tokens = ended.prompt_tokens
        else:
            self.grow(ended.text, ended.tokens)
            self.ended_by = ended.ended_by
            self.first_token_s, self.context_left = ended.first_token_s, ended.context_left

    def fail(self, problem: str) -> None:
        """It ends here; what was written stays."""
        self.problem, self.ended_by = problem, "failed"


@dataclass
class Exchange:
    """A message and its answers. `reference` is what the dataset answers, where known; `plain`: the
    message is the beginning of a text, which is carried on without a template. `system` is what the
    model was told before it all."""

    question: str
    answers: list[Answer] = field(default_factory=list)
    reference: str = ""
    plain: bool = False
    system: str = ""

    @property
    def ended(self) -> bool:
        return not any(answer.running for answer in self.answers)

    def by(self, voice: str) -> Answer | None:
        """The last answer of a voice."""
        return next((a for a in reversed(self.answers) if a.voice == voice), None)

    def put(self, answer: Answer) -> Answer | None:
        """Let an answer take the place of the one that its voice gave before, which is returned."""
        before = self.by(answer.voice)
        if before is None:
            self.answers.append(answer)
        else:
            self.answers[self.answers.index(before)] = answer
        return before


class Transcript:
    """The exchanges of one conversation, in order."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    @property
    def running(self) -> list[Answer]:
        return [a for exchange in self.exchanges for a in exchange.answers if a.running]

    @property
    def last(self) -> Exchange | None:
        return self.exchanges[-1] if self.exchanges else None

    def answer(self, id: str) -> tuple[Exchange, Answer] | None:
        for exchange in reversed(self.exchanges):
            for answer in exchange.answers:
                if answer.id == id:
                    return exchange, answer
        return None

    def cut(self, exchange: Exchange) -> list[Exchange]:
        """Take an exchange out, and all after it; returns them."""
        at = self.exchanges.index(exchange)
        gone, self.exchanges = self.exchanges[at:], self.exchanges[:at]
        return gone

    def turns(self, exchange: Exchange, voice: str, system: str = "") -> tuple[Turn, ...]:
        """What `voice` is given to answer `exchange`.

        It reads its own earlier answers, or another voice's where it did not answer itself; a
        message that nobody answered is left out, since templates want the turns to alternate. A
        text that is carried on stands alone.
        """
        if exchange.plain:
            return (Turn(role="user", content=exchange.question),)
        turns = [Turn(role="system", content=system)] if system else []
        for earlier in self.exchanges:
            if earlier is exchange:
                break
            said = earlier.by(voice)
            if said is None or not said.text:
                said = next((a for a in reversed(earlier.answers) if a.text), None)
            if said is None or earlier.plain:
                continue
            turns.append(Turn(role="user", content=earlier.question))
            turns.append(Turn(role="assistant", content=said.text))
        return (*turns, Turn(role="user", content=exchange.question))
