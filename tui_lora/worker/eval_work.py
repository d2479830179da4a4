"""The measuring itself, batch by batch, each row of base and tuned written down as it is done."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import (
    Evaluate,
    EvaluationProgressed,
    FigureSoFar,
    FromEvaluate,
    PlannedPart,
)
from tui_lora.core.spec import RunSpec
from tui_lora.store.evaluations import Line, Partial
from tui_lora.worker.eval_answers import (
    Answer,
    Cancelled,
    Question,
    answers,
    questions_at_once,
)
from tui_lora.worker.eval_losses import SIDES, Batches, Side, Sums, losses, rows_at_once
from tui_lora.worker.eval_plan import Asked, Notes, Plan
from tui_lora.worker.eval_rows import Item, Rows
from tui_lora.worker.eval_scores import Scorer
from tui_lora.worker.oom import is_out_of_memory

_TELL_S = 0.5
_SO_FAR_S = 2.0


class Work:
    """Measures a plan with one model; `losses` and `answers` are what is done, by row.

    `uses_all`: nothing of what was done before is left over, as it is where less is asked for now.
    """

    def __init__(
        self,
        model: Any,
        plan: Plan,
        spec: RunSpec,
        asked: Evaluate,
        kept: Partial,
        notes: Notes,
        cancelled: threading.Event,
        ends: Sequence[int],
    ) -> None:
        self._model, self._plan, self._spec, self._asked = model, plan, spec, asked
        self._kept, self._notes, self._cancelled, self._ends = kept, notes, cancelled, ends
        self._say: Callable[[FromEvaluate], None] = notes.say
        self.losses: dict[str, dict[int, dict[Side, Sums]]] = {rows.part: {} for rows in plan.parts}
        self.answers: dict[int, dict[Side, Answer]] = {}
        self._told = self._told_figures = 0.0
        self._wanted = {(rows.part, item.at) for rows in plan.parts for item in rows.items}
        self._wanted |= {("answers", one.at) for one in plan.answers.questions}
        self.uses_all = True
        for line in kept.lines:
            self._take_up(line)
        self._before = {name: len(done) for name, done in self._done().items()}

    @property
    def complete(self) -> bool:
        return all(done >= rows for _, rows, done in self._counts())

    def planned(self) -> tuple[PlannedPart, ...]:
        """What is to be done, and what of it was done before; sizes of batches are chosen here."""
        self._batches = {rows.part: self._batches_of(rows) for rows in self._plan.parts}
        planned = [
            PlannedPart(
                part=rows.part,
                rows=len(rows.items),
                of=rows.of,
                batches=math.ceil(len(rows.items) / self._batches[rows.part].size),
                done=self._before[rows.part],
            )
            for rows in self._plan.parts
        ]
        asked = self._plan.answers
        if asked.questions:
            self._batches["answers"] = batches = self._batches_of_answers(asked)
            planned.append(
                PlannedPart(
                    part="answers",
                    rows=len(asked.questions),
                    of=asked.of,
                    batches=math.ceil(len(asked.questions) / batches.size),
                    done=self._before["answers"],
                )
            )
        return tuple(planned)

    def measure(self, rows: Rows) -> None:
        """The losses of a part's rows that are not known yet. Ends early where it is cancelled.

        Raises UserError where memory does not suffice for one row.
        """
        done = self.losses[rows.part]
        left = [item for item in rows.items if item.at not in done]
        pad = int(self._plan.tokenizer.pad_token_id)

        def work(some: list[Item]) -> list[dict[Side, Sums]]:
            found: dict[Side, list[Sums]] = {
                side: losses(self._model, rows.feeder, some, side, pad) for side in SIDES
            }
            return [{side: found[side][at] for side in SIDES} for at in range(len(some))]

        begun = time.monotonic()
        for made in self._each(rows.part, left, lambda item: item.length, work):
            for item, sums in made:
                self._kept.add({"kind": "loss", "part": rows.part, "at": item.at, **sums})
                done[item.at] = sums
            self._progressed(rows.part, begun)
            self._loss_so_far(rows)

    def answer(self, scoring: Sequence[Scorer]) -> None:
        """Answer the questions that were not answered yet. Ends early where it is cancelled.

        Raises UserError where memory does not suffice for one row.
        """
        left = [one for one in self._plan.answers.questions if one.at not in self.answers]
        if not left:
            return
        begun = time.monotonic()

        def work(some: list[Question]) -> list[dict[Side, Answer]]:
            written = {
                side: answers(
                    self._model,
                    self._plan.tokenizer,
                    some,
                    side,
                    ends=self._ends,
                    max_new_tokens=self._asked.max_new_tokens,
                    cancelled=self._cancelled,
                    on_token=partial(self._on_token, begun, side, len(some)),
                )
                for side in SIDES
            }
            return [{side: written[side][at] for side in SIDES} for at in range(len(some))]

        try:
            for made in self._each("answers", left, lambda one: len(one.ids), work):
                for question, both in made:
                    told = {side: vars(answer) for side, answer in both.items()}
                    self._kept.add({"kind": "answer", "at": question.at, **told})
                    self.answers[question.at] = both
                self._progressed("answers", begun)
                self._answers_so_far(scoring)
        except Cancelled:
            return

    def _each(
        self,
        part: str,
        left: Sequence[Any],
        length: Callable[[Any], int],
        work: Callable[[list[Any]], list[Any]],
    ) -> Iterable[list[tuple[Any, Any]]]:
        if self._cancelled.is_set():
            return
        try:
            for made in self._batches[part].of(left, length, work):
                yield made
                if self._cancelled.is_set():
                    return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        raise UserError(
            "memory does not suffice for one row at a time.",
            then="Store the base in 4 bits (--quantization nf4), give --max-tokens less, or free "
            "memory that others hold.",
            exit_code=3,
        )

    # -- how far ---------------------------------------------------------------------------------

    def _done(self) -> dict[str, dict[int, Any]]:
        return {**self.losses, "answers": self.answers}

    def _counts(self) -> list[tuple[str, int, int]]:
        """Name, rows and rows done of each part."""
        counts = [
            (rows.part, len(rows.items), len(self.losses[rows.part])) for rows in self._plan.parts
        ]
        return [*counts, ("answers", len(self._plan.answers.questions), len(self.answers))]

    def _progressed(self, part: str, begun: float, now: str = "") -> None:
        self._told = time.monotonic()
        counts = self._counts()
        rows, done = next((rows, done) for name, rows, done in counts if name == part)
        seconds = self._told - begun
        fresh = done - self._before[part]
        speed = fresh / seconds if fresh > 0 and seconds > 0 else None
        self._say(
            EvaluationProgressed(
                part=part,
                part_done=done,
                part_rows=rows,
                done=sum(done for _, _, done in counts),
                total=sum(rows for _, rows, _ in counts),
                rows_per_s=speed,
                eta_s=(rows - done) / speed if speed else None,
                now=now,
            )
        )

    def _on_token(self, begun: float, side: Side, rows: int, token: int) -> None:
        if time.monotonic() - self._told >= _TELL_S:
            most = self._asked.max_new_tokens
            now = f"{side}: token {token:,} of at most {most:,} in {rows:,} rows"
            self._progressed("answers", begun, now)

    def _loss_so_far(self, rows: Rows) -> None:
        if not self._is_due(last=len(self.losses[rows.part]) == len(rows.items)):
            return
        found = self.losses[rows.part].values()
        by_rows = self._spec.task == "classification"

        def figure(side: Side) -> float | None:
            tokens = sum(sums[side][1] for sums in found)
            loss = sum(sums[side][0] for sums in found) / tokens if tokens else math.nan
            if not math.isfinite(loss) or loss > 700:
                return None
            return loss if by_rows else math.exp(loss)

        name = f"{'loss' if by_rows else 'perplexity'} {rows.part}"
        self._say(
            FigureSoFar(name=name, rows=len(found), base=figure("base"), tuned=figure("tuned"))
        )

    def _answers_so_far(self, scoring: Sequence[Scorer]) -> None:
        """Of the metrics that are ours: a function of the user's is asked once, at the end."""
        if not self._is_due(last=len(self.answers) == len(self._plan.answers.questions)):
            return
        references = {one.at: one.reference for one in self._plan.answers.questions}
        for metric in (scorer.metric for scorer in scoring):
            if metric.score is None or metric.limited:
                continue
            means = {
                side: sum(
                    metric.score(both[side].text, references[at])
                    for at, both in self.answers.items()
                )
                / len(self.answers)
                for side in SIDES
            }
            self._say(FigureSoFar(name=metric.name, rows=len(self.answers), **means))

    def _is_due(self, *, last: bool) -> bool:
        now = time.monotonic()
        if not last and now - self._told_figures < _SO_FAR_S:
            return False
        self._told_figures = now
        return True

    # -- batches ---------------------------------------------------------------------------------

    def _batches_of(self, rows: Rows) -> Batches:
        vocabulary = int(getattr(self._model.config.get_text_config(), "vocab_size", 1))
        pairs = 2 if self._spec.task == "dpo" and rows.feeder is not None else 1
        number = int(self._model.dtype.itemsize)
        chosen = rows_at_once(rows.items, vocabulary, number, pairs)
        return Batches(self._asked.batch or chosen, self._on_smaller)

    def _batches_of_answers(self, asked: Asked) -> Batches:
        longest = max(len(one.ids) for one in asked.questions)
        base = self._model.get_base_model()
        size, why = questions_at_once(base, longest, self._asked.max_new_tokens)
        if self._asked.batch is not None and not getattr(base, "_is_stateful", False):
            size, why = self._asked.batch, "as you said"
        self._notes.choose("rows answered at once", size, why)
        return Batches(size, self._on_smaller)

    def _on_smaller(self, size: int) -> None:
        self._notes.notice(f"memory ran out; going on with {size:,} rows at a time")

    # -- what was done before --------------------------------------------------------------------

    def _take_up(self, line: Line) -> None:
        """A line of an earlier evaluation; one that is not as it should be is measured again."""
        try:
            if line["kind"] not in ("loss", "answer"):
                return
            at = int(line["at"])
            if (line.get("part", "answers"), at) not in self._wanted:
                self.uses_all = False
            elif line["kind"] == "loss":
                sums = {side: [float(value) for value in line[side]] for side in SIDES}
                if all(len(found) >= 2 for found in sums.values()):
                    self.losses[line["part"]][at] = sums
            else:
                self.answers[at] = {side: Answer(**line[side]) for side in SIDES}
        except (KeyError, TypeError, ValueError):
            return
