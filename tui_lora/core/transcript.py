"""A conversation with several voices: each message asked, and the answers that came to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tui_lora.core.chat import AnswerEnded, Chance, Predicted, Turn
from tui_lora.core.sampling_set import SamplingSet

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
    while nobody may know who gave it, and `verdict` how it was voted. `sampling` is as it was set
    when this was asked for, `seed` the one that was drawn from, `apart` in words what of them is
    otherwise than when the message was asked.
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
    sampling: SamplingSet | None = None
    seed: int | None = None
    apart: str = ""
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
        """Whether there may be more of it than was written; a stop string would come again."""
        return self.ended_by in ("length", "cancel") and bool(self.text)

    @property
    def system(self) -> str:
        """What was set to be told before it all."""
        return self.sampling.system if self.sampling is not None else ""

    @property
    def drawn(self) -> SamplingSet | None:
        """All that it was drawn with, its own seed too."""
        if self.sampling is None or self.seed is None:
            return self.sampling
        return self.sampling.seeded(self.seed)

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
    message is the beginning of a text, which is carried on without a template. `sampling` is how it
    was asked. `opening`: the message is a dataset's, these turns stand before it there, and nothing
    that was said earlier does; None where it goes on with the conversation."""

    question: str
    answers: list[Answer] = field(default_factory=list)
    reference: str = ""
    plain: bool = False
    opening: tuple[Turn, ...] | None = None
    sampling: SamplingSet = field(default_factory=SamplingSet)

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
        text that is carried on stands alone, and a message of a dataset begins anew.
        """
        asked = Turn(role="user", content=exchange.question)
        if exchange.plain:
            return (asked,)
        turns: list[Turn] = []
        for earlier in self.exchanges:
            if earlier is exchange:
                break
            said = earlier.by(voice)
            if said is None or not said.text:
                said = next((a for a in reversed(earlier.answers) if a.text), None)
            if said is None or earlier.plain:
                continue
            if earlier.opening is not None:
                turns = [*earlier.opening]
            turns.append(Turn(role="user", content=earlier.question))
            turns.append(Turn(role="assistant", content=said.text))
        if exchange.opening is not None:
            turns = [*exchange.opening]
        return (*with_system(turns, system), asked)

    def told(self, exchange: Exchange, answer: Answer) -> str:
        """The system prompt that an answer was given under."""
        first = self.turns(exchange, answer.voice, answer.system)[0]
        return first.content if first.role == "system" else ""

    def apart(self, exchange: Exchange, answer: Answer) -> str:
        """What an answer was drawn with otherwise than its message was asked, in words."""
        drawn, asked = answer.drawn, exchange.sampling
        if drawn is None or drawn.same(asked):
            return ""
        if drawn.system != asked.system:
            as_asked = self.turns(exchange, answer.voice, asked.system)
            if self.turns(exchange, answer.voice, drawn.system) == as_asked:
                # Nobody was told either: a text is carried on, or a dataset says another.
                drawn = replace(drawn, system=asked.system)
        return drawn.apart(asked)


def with_system(turns: Sequence[Turn], system: str) -> list[Turn]:
    """The turns with a system prompt before them, where they do not begin with one of their own."""
    if not system or (turns and turns[0].role == "system"):
        return [*turns]
    return [Turn(role="system", content=system), *turns]
