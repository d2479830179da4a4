"""From what was measured row by row to figures with their intervals."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tui_lora.core.evaluation import (
    AnswerRow,
    ClassesReport,
    ClassTable,
    Figure,
    Loss,
    LossRow,
    MetricReport,
    PartReport,
)
from tui_lora.core.significance import difference_interval, mcnemar, share_interval
from tui_lora.core.text import one_line
from tui_lora.worker.classifier import accuracy_of, macro_f1_of
from tui_lora.worker.eval_losses import Side, Sums
from tui_lora.worker.eval_rows import Item, Rows
from tui_lora.worker.eval_scores import Scorer
from tui_lora.worker.intervals import Floats, mean_interval, ratio, ratio_interval, sign_flip

EXTREMES = 10

Measured = Mapping[int, Mapping[Side, Sums]]
"""By the number of a row in its part."""


def loss_rows(rows: Rows, measured: Measured, labels: Sequence[str]) -> list[LossRow]:
    """Every measured row of a part, in its order."""
    return [
        _loss_row(item, measured[item.at], labels) for item in rows.items if item.at in measured
    ]


def _loss_row(item: Item, sums: Mapping[Side, Sums], labels: Sequence[str]) -> LossRow:
    base, tuned = sums["base"], sums["tuned"]
    row = LossRow(
        part=item.part,
        at=item.at,
        file=item.place.file,
        line=item.place.line,
        begin=item.begin,
        tokens=int(tuned[1]),
        base=base[0],
        tuned=tuned[0],
    )
    if labels:
        return row.model_copy(
            update={
                "label": item.example["label"],
                "predicted_base": labels[int(base[2])],
                "predicted_tuned": labels[int(tuned[2])],
            }
        )
    if len(tuned) == 4:
        return row.model_copy(
            update={
                "rejected_tokens": int(tuned[3]),
                "rejected_base": base[2],
                "rejected_tuned": tuned[2],
            }
        )
    good = item.example.get("label")
    return row.model_copy(update={"good": good}) if isinstance(good, bool) else row


def part_report(rows: Rows, told: Sequence[LossRow], *, task: str, seed: int) -> PartReport:
    """The loss of a part with its interval, base against tuned.

    Of judged answers those that are marked good; of pairs the chosen ones: what ought to be likely.
    """
    counted = [row for row in told if row.good is not False]
    by_rows = task == "classification"
    base = np.array([row.base for row in counted], dtype=np.float64)
    tuned = np.array([row.tuned for row in counted], dtype=np.float64)
    tokens = np.array([1 if by_rows else row.tokens for row in counted], dtype=np.float64)
    changes = [row for row in counted if math.isfinite(row.change)]
    ordered = sorted(changes, key=lambda row: row.change)
    measured = {row.at for row in counted}
    items = [item for item in rows.items if item.at in measured]
    return PartReport(
        part=rows.part,
        source=rows.source,
        unit=_unit(rows, task),
        counted_by="rows" if by_rows else "tokens",
        rows=len(counted),
        of=rows.of,
        tokens=int(tokens.sum()),
        cut_rows=sum(item.cut > 0 for item in items),
        cut_tokens=sum(item.cut for item in items),
        cut_of=sum(item.tokens + item.cut for item in items),
        left_out=rows.left_out,
        why_left_out=rows.why_left_out,
        fed=fed(item.row for item in rows.items),
        base=_loss(base, tokens, seed, by_rows=by_rows),
        tuned=_loss(tuned, tokens, seed, by_rows=by_rows),
        change=_ratio_figure(tuned - base, tokens, seed),
        improved=sum(row.change < 0 for row in changes),
        worsened=sum(row.change > 0 for row in changes),
        most_improved=tuple(row for row in ordered[:EXTREMES] if row.change < 0),
        most_worsened=tuple(row for row in ordered[::-1][:EXTREMES] if row.change > 0),
    )


def fed(rows: Iterable[Any]) -> str:
    """sha256 of rows as the model is fed them, in their order: of another file, template, mask or
    max length it is another one."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _unit(rows: Rows, task: str) -> str:
    if rows.part == "general":
        return "passages"
    return {"classification": "texts", "dpo": "pairs", "kto": "answers"}.get(
        task, "passages" if rows.reading.shape == "text" else "rows"
    )


def _loss(losses: Floats, tokens: Floats, seed: int, *, by_rows: bool) -> Loss:
    loss = _ratio_figure(losses, tokens, seed)
    if by_rows:
        return Loss(loss=loss)
    raised = {name: _exponential(value) for name, value in loss.model_dump().items()}
    return Loss(loss=loss, perplexity=Figure(**raised))


def _ratio_figure(losses: Floats, tokens: Floats, seed: int) -> Figure:
    value = ratio(losses, tokens)
    if not math.isfinite(value):
        return Figure()
    low, high = ratio_interval(losses, tokens, seed) or (None, None)
    return Figure(value=value, low=low, high=high)


def _exponential(value: float | None) -> float | None:
    try:
        return None if value is None else math.exp(value)
    except OverflowError:
        return None


# -- answers --------------------------------------------------------------------------------------


def metric_report(
    scorer: Scorer, why: str, rows: Sequence[AnswerRow], *, seed: int
) -> MetricReport:
    """A metric over the rows that both have a score for, with a paired test."""
    name = scorer.metric.name
    pairs = [(row.base.scores.get(name), row.tuned.scores.get(name)) for row in rows]
    both = [(b, t) for b, t in pairs if b is not None and t is not None]
    told = {
        "name": name,
        "label": scorer.metric.label,
        "why": why,
        "failed": scorer.failed,
        "failures": tuple(scorer.failures),
    }
    if scorer.kind == "right":
        return right_report([(b == 1, t == 1) for b, t in both], **told)
    return score_report(
        np.array([b for b, _ in both], dtype=np.float64),
        np.array([t for _, t in both], dtype=np.float64),
        seed=seed,
        **told,
    )


def right_report(pairs: Sequence[tuple[bool, bool]], **told: object) -> MetricReport:
    """Rows that were right or wrong, base and tuned."""
    rows = len(pairs)
    both = sum(b and t for b, t in pairs)
    only_base, only_tuned = sum(b and not t for b, t in pairs), sum(t and not b for b, t in pairs)
    neither = rows - both - only_base - only_tuned
    change = difference_interval(both, only_base, only_tuned, neither)
    return MetricReport.model_validate(
        {
            **told,
            "kind": "right",
            "rows": rows,
            "base": _share(both + only_base, rows),
            "tuned": _share(both + only_tuned, rows),
            "change": _figure((only_tuned - only_base) / rows if rows else None, change),
            "test": "exact McNemar test" if rows else "",
            "p": mcnemar(only_base, only_tuned) if rows else None,
            "only_base": only_base,
            "only_tuned": only_tuned,
        }
    )


def score_report(base: Floats, tuned: Floats, *, seed: int, **told: object) -> MetricReport:
    """Rows with a score each, base and tuned."""
    p, test = sign_flip(tuned - base, seed) if len(base) else (None, "")
    return MetricReport.model_validate(
        {
            **told,
            "kind": "score",
            "rows": len(base),
            "base": mean_figure(base, seed),
            "tuned": mean_figure(tuned, seed),
            "change": mean_figure(tuned - base, seed),
            "test": test,
            "p": p,
        }
    )


def mean_figure(values: Floats, seed: int) -> Figure:
    return _figure(float(values.mean()), mean_interval(values, seed)) if len(values) else Figure()


def _share(right: int, rows: int) -> Figure:
    return _figure(right / rows if rows else None, share_interval(right, rows))


def _figure(value: float | None, interval: tuple[float, float] | None) -> Figure:
    low, high = interval or (None, None)
    return Figure(value=value, low=low, high=high)


# -- preferences and classes ----------------------------------------------------------------------


def preference_reports(
    told: Sequence[LossRow], task: str, beta: float, source: str, *, seed: int
) -> list[MetricReport]:
    """What pairs or judged answers tell beside a loss: Rafailov et al. 2023 (arXiv 2305.18290).

    A reward is beta times how much likelier an answer became, in nats over all of its tokens; the
    base is what it is measured against, so it has none.
    """
    why = f"the task is {task}; {source}"
    if task == "kto":
        groups = (("good", True), ("bad", False))
        return [
            _reward(
                f"reward_{name}",
                f"reward of {name} answers",
                np.array([beta * (row.base - row.tuned) for row in told if row.good is good]),
                f"{why}; beta {beta:g}",
                seed,
            )
            for name, good in groups
        ]
    pairs, margins = [], []
    for row in told:
        if row.rejected_base is not None and row.rejected_tuned is not None:
            pairs.append((row.base < row.rejected_base, row.tuned < row.rejected_tuned))
            chosen, rejected = row.base - row.tuned, row.rejected_base - row.rejected_tuned
            margins.append(beta * (chosen - rejected))
    prefers = right_report(pairs, name="prefers_chosen", label="chosen answer is likelier", why=why)
    margin = np.array(margins, dtype=np.float64)
    return [
        prefers,
        _reward("reward_margin", "reward margin", margin, f"{why}; beta {beta:g}", seed),
        _reward(
            "reward_accuracy",
            "margin above 0",
            (margin > 0).astype(np.float64),
            why,
            seed,
            unit="share",
        ),
    ]


def _reward(
    name: str, label: str, values: Floats, why: str, seed: int, unit: str = "nats"
) -> MetricReport:
    return MetricReport(
        name=name,
        label=label,
        why=why,
        kind="score",
        unit=unit,
        rows=len(values),
        base=Figure(),
        tuned=mean_figure(values, seed),
        change=Figure(),
    )


def classes_report(
    told: Sequence[LossRow], labels: Sequence[str], source: str
) -> tuple[ClassesReport, MetricReport]:
    """Who was taken for whom, and accuracy as a metric."""
    number_of = {label: number for number, label in enumerate(labels)}
    tables = {}
    for side in ("base", "tuned"):
        confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for row in told:
            confusion[number_of[row.label], number_of[getattr(row, f"predicted_{side}")]] += 1
        tables[side] = _table(confusion)
    counts = [sum(row) for row in tables["tuned"].confusion]
    report = ClassesReport(
        part=told[0].part,
        labels=tuple(labels),
        base=tables["base"],
        tuned=tables["tuned"],
        most_frequent=max(counts) / max(1, sum(counts)),
    )
    pairs = [(row.predicted_base == row.label, row.predicted_tuned == row.label) for row in told]
    frequent = one_line(labels[counts.index(max(counts))], max_chars=40)
    why = (
        f"the task is classification; {source}; the base's head was never trained; always saying "
        f"{frequent} would reach {report.most_frequent:.1%}"
    )
    return report, right_report(pairs, name="accuracy", label="accuracy", why=why)


def _table(confusion: np.ndarray) -> ClassTable:
    import torch

    counts = torch.from_numpy(confusion)
    return ClassTable(
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        accuracy=accuracy_of(counts),
        macro_f1=macro_f1_of(counts),
    )
