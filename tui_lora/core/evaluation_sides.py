"""Two evaluations beside each other: the same figures of both, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tui_lora.core.evaluation import AnswerRow, Evaluation, Figure, LossRow, Part
from tui_lora.core.significance import mcnemar

Rows = Iterable[LossRow | AnswerRow]
Unit = Literal["perplexity", "loss", "share", "score"]


@dataclass(frozen=True)
class Sides:
    """A figure of both tuned models, and of the base where both found the same. Over the rows that
    both measured, `better` are better to the right one and `worse` are worse; `p` is of the test
    that this is more than chance, None without such rows."""

    name: str
    label: str
    unit: Unit
    base: float | None
    left: Figure
    right: Figure
    better: int = 0
    worse: int = 0
    p: float | None = None


def why_not_alike(left: Evaluation, right: Evaluation) -> list[str]:
    """What keeps the figures of two evaluations from being compared; nothing where they can be."""
    pairs = {
        "the base": (
            (left.model, left.revision or right.revision),
            (right.model, right.revision or left.revision),
        ),
        "how the base is stored": (left.quantization, right.quantization),
        "the numbers it computes with": (left.dtype, right.dtype),
        "the file of rows": (left.test_file, right.test_file),
        "the seed that drew the rows": (left.seed, right.seed),
        "how many rows": (_counts(left), _counts(right)),
        "the longest answer": (_longest(left), _longest(right)),
    }
    found = [what for what, (one, other) in pairs.items() if one != other]
    # Only where both were written down.
    before, after = _fed(left), _fed(right)
    if any(before[part] != after[part] for part in before.keys() & after.keys()):
        found.append("the rows as they were fed")
    return found


def sides(
    left: Evaluation, right: Evaluation, left_rows: Rows, right_rows: Rows
) -> tuple[Sides, ...]:
    """Every figure that both have; of rows that both measured, a paired test each."""
    before, after = _by_key(left_rows), _by_key(right_rows)
    found = []
    for one in left.parts:
        other = right.part(one.part)
        if other is None or other.counted_by != one.counted_by:
            continue
        unit: Unit = "perplexity" if one.counted_by == "tokens" else "loss"
        figures = [getattr(report.tuned, unit) for report in (one, other)]
        bases = [getattr(report.base, unit).value for report in (one, other)]
        changes = _changes(before, after, (one.part,), _loss_of)
        base = bases[0] if bases[0] == bases[1] else None
        label = left.called(one.part)
        found.append(_of(one.part, label, unit, base, figures, [-by for by in changes]))
    there = {metric.name: metric for metric in right.metrics}
    for metric in left.metrics:
        twin = there.get(metric.name)
        if twin is None:
            continue
        share = metric.kind == "right" or metric.unit == "share"
        base = metric.base.value if metric.base.value == twin.base.value else None
        changes = _changes(before, after, ("answer",), _score_of(metric.name))
        figures = [metric.tuned, twin.tuned]
        kind: Unit = "share" if share else "score"
        found.append(_of(metric.name, metric.label, kind, base, figures, changes))
    return tuple(found)


def _of(
    name: str,
    label: str,
    unit: Unit,
    base: float | None,
    figures: list[Figure],
    changes: list[float],
) -> Sides:
    """By the exact test of signs: rows that are better and worse as a fair coin would fall. Where
    rows are right or wrong that is McNemar's."""
    better, worse = sum(by > 0 for by in changes), sum(by < 0 for by in changes)
    p = mcnemar(worse, better) if changes else None
    return Sides(name, label, unit, base, figures[0], figures[1], better, worse, p)


Key = tuple[Part | Literal["answer"], str, int, int]


def _by_key(rows: Rows) -> dict[Key, LossRow | AnswerRow]:
    return {
        (row.part if isinstance(row, LossRow) else "answer", row.file, row.line, row.at): row
        for row in rows
    }


def _changes(
    before: dict[Key, LossRow | AnswerRow],
    after: dict[Key, LossRow | AnswerRow],
    of: tuple[str, ...],
    value: Callable[[LossRow | AnswerRow], float | None],
) -> list[float]:
    found = []
    for key, row in before.items():
        if key[0] in of and key in after:
            one, other = value(row), value(after[key])
            if one is not None and other is not None:
                found.append(other - one)
    return found


def _loss_of(row: LossRow | AnswerRow) -> float | None:
    """None of answers that are judged bad, over which the figure of a part does not go either."""
    if not isinstance(row, LossRow) or row.good is False:
        return None
    return row.tuned / max(1, row.tokens)


def _score_of(name: str) -> Callable[[LossRow | AnswerRow], float | None]:
    return lambda row: row.tuned.scores.get(name) if isinstance(row, AnswerRow) else None


def _counts(found: Evaluation) -> tuple[tuple[str, int], ...]:
    parts = [(part.part, part.rows) for part in found.parts]
    if found.answers is not None:
        parts.append(("eval", found.answers.rows))
    return tuple(parts)


def _fed(found: Evaluation) -> dict[str, str]:
    """What was fed of each part, and of the answers, where it is known."""
    told: dict[str, str] = {part.part: part.fed for part in found.parts}
    if found.answers is not None:
        told["answers"] = found.answers.fed
    return {name: fed for name, fed in told.items() if fed}


def _longest(found: Evaluation) -> int | None:
    return found.answers.max_new_tokens if found.answers is not None else None
