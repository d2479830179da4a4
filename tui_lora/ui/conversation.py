"""One conversation as the Chat screen holds it: who takes part, what was said, where it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.content import Content

from tui_lora.core.chat import BASE
from tui_lora.core.text import one_line
from tui_lora.core.transcript import Answer, Exchange, Transcript
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.chats import ChatFile
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.chat_facts import Ended, voice_of
from tui_lora.ui.chat_link import ChatLink
from tui_lora.ui.ink import ACCENT, DIM, STRONG, dim, join
from tui_lora.ui.screens.sampling import Sampling

KEPT_CHANCES = 10


@dataclass(frozen=True)
class Voice:
    """Somebody who answers: `name` on the wire, `label` on the screen.

    A `classifier` is given a text and says which label it has.
    """

    name: str
    label: str
    session: SessionPaths | None = None
    classifier: bool = False


class Conversation:
    """Voices of one base. `turn` points at the voice that answers next."""

    def __init__(self, link: ChatLink, not_kept: Callable[[OSError], object]) -> None:
        self._link = link
        self._not_kept = not_kept
        self._file: ChatFile | None = None
        self.target: ChatTarget | None = None
        self.voices: list[Voice] = []
        self.turn = 0
        self.transcript = Transcript()

    @property
    def running(self) -> bool:
        return bool(self.transcript.running)

    @property
    def predicting(self) -> bool:
        """Whether labels are given here, and no answers."""
        return self.target is not None and self.target.classifier

    @property
    def next_voice(self) -> Voice | None:
        return self.voices[self.turn] if self.voices else None

    def join(self, target: ChatTarget) -> bool:
        """Let a target take part and answer next; True when that begins another conversation."""
        anew = self.target is not None and self.target.base != target.base
        if anew or not self.voices:
            self.renew()
            # A classifier's base has an untrained head, which has nothing to say.
            self.voices = [] if target.classifier else [Voice(BASE, BASE)]
        self.target = target
        voice = Voice(voice_of(target), target.name, target.session, target.classifier)
        if target.adapter is None:
            self.turn = len(self.voices) - 1
            return anew
        self.voices = [voice, *(v for v in self.voices if v.name != voice.name)]
        self.turn = 0
        return anew

    def switch(self) -> None:
        if self.voices:
            self.turn = (self.turn + 1) % len(self.voices)

    def renew(self) -> None:
        """Begin anew with the same voices; what was said is kept in its file."""
        self.stop()
        self.transcript = Transcript()
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def ask(
        self, text: str, sampling: Sampling, *, together: bool, reference: str = ""
    ) -> Exchange:
        """Have the next voice answer, or all of them one after the other."""
        exchange = Exchange(text, reference=reference)
        self.transcript.exchanges.append(exchange)
        self._keep(
            role="user",
            content=text,
            system=sampling.system,
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
            seed=sampling.seed,
        )
        here = [self.voices[self.turn]] if not together else list(reversed(self.voices))
        for voice in here:
            self._answer(exchange, voice, sampling)
        return exchange

    def catch_up(self, sampling: Sampling) -> tuple[Exchange, list[Answer]] | None:
        """Have the others answer the last message too; None when everybody did."""
        if not self.transcript.exchanges:
            return None
        exchange = self.transcript.exchanges[-1]
        missing = [v for v in reversed(self.voices) if exchange.by(v.name) is None]
        answers = [self._answer(exchange, voice, sampling) for voice in missing]
        return (exchange, answers) if answers else None

    def came(self, id: str, text: str, tokens: int) -> Answer | None:
        found = self.transcript.answer(id)
        if found is None or not found[1].running:
            return None
        found[1].text, found[1].tokens = text, tokens
        return found[1]

    def over(self, id: str, ended: Ended | None, problem: str) -> Answer | None:
        found = self.transcript.answer(id)
        if found is None:
            return None
        answer = found[1]
        if ended is not None:
            answer.end(ended)
        else:
            answer.fail(problem)
        self._keep(
            role="assistant",
            content=answer.text,
            name=answer.label,
            tokens=answer.tokens,
            seconds=answer.seconds,
            ended_by=answer.ended_by,
            **({"problem": problem} if problem else {}),
            **({"chances": _kept(answer)} if answer.chances else {}),
        )
        return answer

    def stop(self) -> list[Answer]:
        """Cancel what is being written or waits; what was written stays."""
        stopped = self.transcript.running
        for answer in stopped:
            self._link.cancel(answer.id)
            answer.ended_by = "cancel"
        return stopped

    def _answer(self, exchange: Exchange, voice: Voice, sampling: Sampling) -> Answer:
        if voice.classifier:
            id = self._link.predict(voice.name, exchange.question)
        else:
            id = self._link.ask(
                voice.name,
                self.transcript.turns(exchange, voice.name, sampling.system),
                sampling.drawn(),
            )
        answer = Answer(id, voice.name, voice.label)
        exchange.answers.append(answer)
        return answer

    def _keep(self, **message: object) -> None:
        if self._file is None:
            session = next((v.session for v in self.voices if v.session is not None), None)
            if session is None:
                return
            self._file = ChatFile(session.chats, self._not_kept)
        self._file.add(**message)


def _kept(answer: Answer) -> dict[str, float]:
    return {chance.label: chance.probability for chance in answer.chances[:KEPT_CHANCES]}


def voices_row(conversation: Conversation) -> Content:
    """Everybody who takes part, the one who answers next marked."""
    pieces = []
    for at, voice in enumerate(conversation.voices):
        here = at == conversation.turn
        look = DIM if not here else STRONG if voice.name == BASE else f"bold {ACCENT}"
        pieces.append(join(("● " if here else "○ ", look), (one_line(voice.label), look)))
    does = "predicts  " if conversation.predicting else "answers  "
    return join(dim(does), Content("   ").join(pieces))
