"""One conversation as the Chat screen holds it: what is asked of whom, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tui_lora.core.chat import BASE
from tui_lora.core.kept_chat import KeptChat, voice_lines
from tui_lora.core.sampling import SEEDS
from tui_lora.core.sampling_set import SamplingSet
from tui_lora.core.transcript import Answer, Exchange, Transcript
from tui_lora.store.adapters import ChatTarget, base_alone
from tui_lora.store.chats import ChatFile
from tui_lora.store.kept_voices import kept_base, kept_voice
from tui_lora.store.paths import user_chats
from tui_lora.ui.chat_facts import Ended, voice_of
from tui_lora.ui.chat_link import ChatLink
from tui_lora.ui.voices import Voice, Voices

KEPT_CHANCES = 10


class Conversation:
    """Of the voices of one base; kept in the folder of the first session among them, or of the user
    where there is none."""

    def __init__(self, link: ChatLink, not_kept: Callable[[OSError], object]) -> None:
        self._link = link
        self._not_kept = not_kept
        self._file: ChatFile | None = None
        self._told: object = None
        self.target: ChatTarget | None = None
        self.voices = Voices()
        self._targets: dict[str, ChatTarget] = {}
        self.transcript = Transcript()
        self._awaited: set[str] = set()
        """Answers whose end is not in the file yet."""

    @property
    def running(self) -> bool:
        return bool(self.transcript.running)

    @property
    def predicting(self) -> bool:
        """Whether labels are given here, and no answers."""
        return self.target is not None and self.target.classifier

    @property
    def targets(self) -> list[ChatTarget]:
        """All that must be loaded for these voices."""
        found = [self._targets[v.name] for v in self.voices.all if v.name in self._targets]
        there = [target for target in found if voice_of(target) != BASE] or found
        if there or self.target is None or not self.voices.all:
            return there
        # Those that stood beside the base have left, or could not be loaded.
        return [base_alone(self.target)]

    def join(self, target: ChatTarget) -> bool:
        """Let a target take part and answer next; True when that begins another conversation."""
        anew = self.target is not None and self.target.base != target.base
        if anew:
            self.renew()
        if anew or not self.voices.all:
            self.voices.begin(target.classifier)
        self.target = target
        self._targets[voice_of(target)] = target
        self.voices.join(target)
        return anew

    def leave(self) -> Voice | None:
        """The voice that answers next takes part no more; what it held is freed."""
        voice = self.voices.next
        if voice is not None:
            self.voices.leave()
            self._link.unload(voice.name)
        return voice

    def renew(self) -> None:
        """Begin anew with the same voices; what was said is kept in its file, also the beginning of
        what is being written."""
        self.stop()
        self.close()
        self.transcript = Transcript()

    def reopen(self, kept: KeptChat, path: Path) -> None:
        """Go on with a conversation that was kept in `path`; whoever joins now answers in it."""
        self.renew()
        self.target, self.voices = None, Voices()
        self.transcript = kept.transcript
        self._file = ChatFile(path.parent, self._not_kept, path)

    @property
    def path(self) -> Path | None:
        """Where it is kept; None before the first message."""
        return self._file.path if self._file is not None else None

    def close(self) -> None:
        """Keep what is there of answers whose end was not told yet, and close the file."""
        for exchange in self.transcript.exchanges:
            for answer in exchange.answers:
                if answer.id in self._awaited:
                    answer.ended_by = answer.ended_by or "cancel"
                    self._keep_answer(exchange, answer)
        self._told = None
        if self._file is not None:
            self._file.close()
            self._file = None

    # Asking.

    def ask(
        self,
        exchange: Exchange,
        sampling: SamplingSet,
        voices: Sequence[Voice],
        *,
        aliases: Sequence[str] = (),
    ) -> None:
        """Have these voices answer it, one after the other; with `aliases` nobody is named."""
        exchange.sampling = sampling
        self.transcript.exchanges.append(exchange)
        opening = [turn.model_dump() for turn in exchange.opening or ()]
        self._keep(
            role="user",
            content=exchange.question,
            **sampling.kept(),
            **({"plain": True} if exchange.plain else {}),
            **({"opening": opening} if exchange.opening is not None else {}),
            **({"reference": exchange.reference} if exchange.reference else {}),
        )
        for at, voice in enumerate(voices):
            answer = self._ask(exchange, voice, sampling)
            if aliases:
                answer.alias, answer.cover = aliases[at], "all"
            exchange.answers.append(answer)

    def catch_up(self) -> tuple[Exchange, list[Answer]] | None:
        """Have the others answer the last message too, drawn as the answer beside them; None when
        everybody did."""
        exchange = self.transcript.last
        if exchange is None:
            return None
        found = self.at_hand()
        beside = found[1] if found is not None else None
        if beside is None or beside.sampling is None:
            beside = next((a for a in reversed(exchange.answers) if a.sampling), None)
        sampling, seed = exchange.sampling, None
        if beside is not None and beside.sampling is not None:
            sampling, seed = beside.sampling, beside.seed
        missing = [v for v in self.voices.heard if exchange.by(v.name) is None]
        answers = [self._ask(exchange, voice, sampling, seed) for voice in missing]
        exchange.answers += answers
        return (exchange, answers) if answers else None

    def at_hand(self) -> tuple[Exchange, Answer] | None:
        """What the next voice answered to the last message, or else the only answer to it."""
        exchange, voice = self.transcript.last, self.voices.next
        if exchange is None or voice is None:
            return None
        answer = exchange.by(voice.name)
        if answer is None and len(exchange.answers) == 1:
            answer = exchange.answers[0]
        return (exchange, answer) if answer is not None else None

    def again(self, sampling: SamplingSet) -> tuple[Exchange, Answer, Answer | None] | None:
        """Have the next voice answer the last message again, with these settings: from the next
        seed, or from the one that was set since. Returns the new answer and the one whose place it
        takes."""
        exchange, voice = self.transcript.last, self.voices.next
        if exchange is None or voice is None:
            return None
        before, seed = exchange.by(voice.name), None
        if before is not None and before.seed is not None and _still_set(before, sampling):
            seed = None if sampling.values.greedy else (before.seed + 1) % SEEDS
        answer = self._ask(exchange, voice, sampling, seed)
        return exchange, answer, exchange.put(answer)

    def carry_on(self, sampling: SamplingSet) -> tuple[Exchange, Answer, Answer] | None:
        """Have a cut answer carried on by who gave it, told the same before it all; returns the one
        that stands for it now."""
        found = self.at_hand()
        if found is None:
            return None
        exchange, cut = found
        voice = next((v for v in self.voices.all if v.name == cut.voice), None)
        if voice is None or not cut.cut:
            return None
        seed = cut.seed if _still_set(cut, sampling) else None
        sampling = replace(sampling, system=cut.system)
        answer = self._ask(exchange, voice, sampling, seed, begun=cut)
        exchange.put(answer)
        return exchange, answer, cut

    def cut(self, exchange: Exchange) -> None:
        """Go on from before a message; what was said since stays in the file."""
        self.transcript.cut(exchange)
        self._keep(role="cut", content="", keep=len(self.transcript.exchanges))

    def _ask(
        self,
        exchange: Exchange,
        voice: Voice,
        sampling: SamplingSet,
        seed: int | None = None,
        begun: Answer | None = None,
    ) -> Answer:
        """With these settings, from `seed` where it is another one than they name."""
        if voice.classifier:
            id = self._link.predict(voice.name, exchange.question)
            self._awaited.add(id)
            return Answer(id, voice.name, voice.label)
        seed = sampling.values.seed if seed is None else seed
        id = self._link.ask(
            voice.name,
            self.transcript.turns(exchange, voice.name, sampling.system),
            sampling.seeded(seed).values,
            strength=voice.strength,
            begun=begun.text if begun is not None else "",
            plain=exchange.plain,
        )
        self._awaited.add(id)
        answer = Answer(
            id, voice.name, voice.label, strength=voice.strength, sampling=sampling, seed=seed
        )
        answer.apart = self.transcript.apart(exchange, answer)
        if begun is not None:
            answer.text = answer.begun = begun.text
            answer.tokens = answer.begun_tokens = begun.tokens
        return answer

    # Hearing.

    def came(self, id: str, text: str, tokens: int) -> Answer | None:
        found = self.transcript.answer(id)
        if found is None or not found[1].running:
            return None
        found[1].grow(text, tokens)
        return found[1]

    def over(self, id: str, ended: Ended | None, problem: str) -> tuple[Exchange, Answer] | None:
        found = self.transcript.answer(id)
        if found is None:
            return None
        exchange, answer = found
        if ended is not None:
            answer.end(ended)
        elif answer.running:
            answer.fail(problem)
        self._keep_answer(exchange, answer)
        return exchange, answer

    def _keep_answer(self, exchange: Exchange, answer: Answer) -> None:
        self._awaited.discard(answer.id)
        sampling = answer.sampling
        otherwise = sampling is not None and not sampling.same(exchange.sampling)
        self._keep(
            role="assistant",
            content=answer.text,
            name=answer.label,
            **({"voice": answer.voice} if answer.voice != answer.label else {}),
            message=self.transcript.exchanges.index(exchange),
            tokens=answer.tokens,
            **({"begun_tokens": answer.begun_tokens} if answer.begun_tokens else {}),
            seconds=answer.seconds,
            ended_by=answer.ended_by,
            **({"strength": answer.strength} if answer.strength != 1 else {}),
            **({"seed": answer.seed} if answer.seed is not None else {}),
            **({"sampled": sampling.kept()} if sampling is not None and otherwise else {}),
            **({"problem": answer.problem} if answer.problem else {}),
            **({"chances": _kept(answer)} if answer.chances else {}),
        )

    def stop(self) -> list[Answer]:
        """Cancel what is being written or waits; what was written stays."""
        stopped = self.transcript.running
        for answer in stopped:
            self._link.cancel(answer.id)
            answer.ended_by = "cancel"
        return stopped

    def _keep(self, **message: object) -> None:
        if self._file is None:
            session = next(iter(self.voices.sessions), None)
            folder = session.chats if session is not None else user_chats()
            self._file = ChatFile(folder, self._not_kept)
        who = self._who()
        if who == self._told:
            who = {}
        else:
            self._told = who
        self._file.add(**message, **who)

    def _who(self) -> dict[str, Any]:
        """The base, and those who take part beside it."""
        if self.target is None:
            return {}
        there = (
            kept_voice(v.name, v.label, v.session, whole=v.whole, classifier=v.classifier)
            for v in self.voices.all
        )
        return voice_lines(kept_base(self.target), there)


def _still_set(before: Answer, now: SamplingSet) -> bool:
    """Whether the seed was left as it was set when an answer was asked for."""
    return before.sampling is not None and before.sampling.values.seed == now.values.seed


def _kept(answer: Answer) -> dict[str, float]:
    return {chance.label: chance.probability for chance in answer.chances[:KEPT_CHANCES]}
