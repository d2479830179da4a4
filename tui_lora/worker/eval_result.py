"""What an evaluation comes to: every row that was measured, and the figures over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_lora.core.evaluate import Evaluate
from tui_lora.core.evaluation import AnswerRow, AnswersReport, LossRow, Written
from tui_lora.core.spec import RunSpec
from tui_lora.worker import eval_report
from tui_lora.worker.eval_losses import SIDES
from tui_lora.worker.eval_plan import Notes, Plan
from tui_lora.worker.eval_rows import question_in
from tui_lora.worker.eval_work import Work

MANY_CUT = 0.2
"""A share of answers that did not end, from which on it is said."""


def measured_rows(plan: Plan, work: Work) -> list[LossRow | AnswerRow]:
    """What was measured of each row, losses first."""
    losses = (
        eval_report.loss_rows(rows, work.losses[rows.part], plan.labels) for rows in plan.parts
    )
    return [*(row for rows in losses for row in rows), *_answer_rows(plan, work)]


def figures_of(
    rows: Sequence[LossRow | AnswerRow], asked: Evaluate, spec: RunSpec, plan: Plan, notes: Notes
) -> dict[str, Any]:
    """The figures of an evaluation over its rows, by their fields."""
    told = [row for row in rows if isinstance(row, LossRow)]
    answered = [row for row in rows if isinstance(row, AnswerRow)]
    _tell_of_cut_answers(answered, asked, notes)
    seed, found = asked.seed, {row.part: row for row in plan.parts}
    by_part = {name: [row for row in told if row.part == name] for name in found}
    parts = tuple(
        eval_report.part_report(rows, by_part[name], task=spec.task, seed=seed)
        for name, rows in found.items()
        if by_part[name]
    )
    metrics = [
        eval_report.metric_report(scorer, plan.why_metrics, answered, seed=seed)
        for scorer in plan.scoring
    ]
    main = next((name for name in ("eval", "train") if by_part.get(name)), None)
    classes = None
    if main is not None and plan.labels:
        source = found[main].source
        classes, accuracy = eval_report.classes_report(by_part[main], plan.labels, source)
        metrics.append(accuracy)
    elif main is not None and spec.task in ("dpo", "kto"):
        beta, source = spec.preference.beta, found[main].source
        metrics += eval_report.preference_reports(by_part[main], spec.task, beta, source, seed=seed)
    answers = plan.answers
    return {
        "parts": parts,
        "metrics": tuple(metrics),
        "classes": classes,
        "answers": AnswersReport(
            source=answers.source,
            rows=len(answered),
            of=answers.of,
            max_new_tokens=asked.max_new_tokens,
            cut_base=sum(row.base.ended_by == "length" for row in answered),
            cut_tuned=sum(row.tuned.ended_by == "length" for row in answered),
            left_out=answers.left_out,
            why_left_out=answers.why_left_out,
            fed=eval_report.fed([one.ids, one.reference] for one in answers.questions),
        )
        if answers.questions
        else None,
    }


def _answer_rows(plan: Plan, work: Work) -> list[AnswerRow]:
    """Every question that both answered, each answer scored by every metric."""
    rows = []
    for question in plan.answers.questions:
        both = work.answers.get(question.at)
        if both is None:
            continue
        place = question.place
        raw = plan.raw.get((place.file, place.line))
        at = f"{place.file}:{place.line}"
        written = {
            side: Written(
                text=both[side].text,
                tokens=both[side].tokens,
                ended_by=both[side].ended_by,
                scores={
                    scorer.metric.name: scorer.score(
                        both[side].text, question.reference, raw, f"{at}, {side}"
                    )
                    for scorer in plan.scoring
                },
            )
            for side in SIDES
        }
        rows.append(
            AnswerRow(
                at=question.at,
                file=place.file,
                line=place.line,
                question=question_in(question.example),
                reference=question.reference,
                base=written["base"],
                tuned=written["tuned"],
            )
        )
    return rows


def _tell_of_cut_answers(answered: Sequence[AnswerRow], asked: Evaluate, notes: Notes) -> None:
    for side in ("base", "tuned"):
        cut = sum(getattr(row, side).ended_by == "length" for row in answered)
        if cut > MANY_CUT * len(answered):
            notes.notice(
                f"{cut:,} of {len(answered):,} answers of the {side} model did not end within "
                f"{asked.max_new_tokens:,} tokens, and are scored as they stand"
            )
