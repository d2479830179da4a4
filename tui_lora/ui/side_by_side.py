"""The same questions answered by base and adapter: while they come, and as they were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_lora.core.chat import BASE
from tui_lora.core.transcript import Answer, Exchange, Transcript
from tui_lora.store.answer_sheets import AnswerSheet, KeptAnswer, KeptRow
from tui_lora.ui.chat_facts import Ended

if TYPE_CHECKING:
    from tui_lora.store.heldout import Question

QUESTIONS = 3
MAX_NEW_TOKENS = 60
TUNED = "tuned"


class SideBySide:
    """Each exchange has two answers: the base's, then the adapter's."""

    def __init__(self, source: str, model: str = "", step: int | None = None) -> None:
        self.source = source
        self._model, self._step = model, step
        self._transcript = Transcript()

    @classmethod
    def of(cls, sheet: AnswerSheet) -> SideBySide:
        """What was kept, to be shown again."""
        side = cls(sheet.source)
        for row in sheet.rows:
            answers = [_again(BASE, row.base), _again(TUNED, row.tuned)]
            side.exchanges.append(Exchange(row.question, answers, row.reference))
        return side

    @property
    def exchanges(self) -> list[Exchange]:
        return self._transcript.exchanges

    @property
    def total(self) -> int:
        return sum(len(exchange.answers) for exchange in self.exchanges)

    @property
    def done(self) -> int:
        return self.total - len(self._transcript.running)

    @property
    def ended(self) -> bool:
        return not self._transcript.running

    @property
    def complete(self) -> bool:
        """Whether every answer came to its own end."""
        return all(a.ended_by in ("end", "length") for e in self.exchanges for a in e.answers)

    def add(self, question: Question, base_id: str, tuned_id: str) -> None:
        answers = [Answer(base_id, BASE, BASE), Answer(tuned_id, TUNED, TUNED)]
        self.exchanges.append(Exchange(question.text, answers, question.reference))

    def came(self, id: str, text: str, tokens: int) -> bool:
        found = self._transcript.answer(id)
        if found is None or not found[1].running:
            return False
        found[1].text, found[1].tokens = text, tokens
        return True

    def over(self, id: str, ended: Ended | None, problem: str) -> bool:
        found = self._transcript.answer(id)
        if found is None:
            return False
        if ended is not None:
            found[1].end(ended)
        else:
            found[1].fail(problem)
        return True

    def stop(self) -> list[str]:
        """End what is not complete; returns the ids to cancel."""
        running = self._transcript.running
        for answer in running:
            answer.ended_by = "cancel"
        return [answer.id for answer in running]

    def sheet(self, t: float) -> AnswerSheet:
        """What is kept of it; `t` is unix seconds."""
        rows = [
            KeptRow(
                question=exchange.question,
                reference=exchange.reference,
                base=_kept(exchange.answers[0]),
                tuned=_kept(exchange.answers[1]),
            )
            for exchange in self.exchanges
        ]
        return AnswerSheet(
            t=t,
            source=self.source,
            model=self._model,
            step=self._step,
            max_new_tokens=MAX_NEW_TOKENS,
            rows=tuple(rows),
        )


def _kept(answer: Answer) -> KeptAnswer:
    return KeptAnswer(
        text=answer.text,
        tokens=answer.tokens,
        seconds=answer.seconds,
        ended_by=answer.ended_by,
    )


def _again(voice: str, kept: KeptAnswer) -> Answer:
    return Answer(
        id="",
        voice=voice,
        label=voice,
        text=kept.text,
        tokens=kept.tokens,
        ended_by="length" if kept.ended_by == "length" else "end",
        seconds=kept.seconds,
    )
