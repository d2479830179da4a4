"""An evaluation as tables: its parts, its metrics, its rows, and which labels were taken for which.

Screens have their own short ones; these hold every figure. `of` says in their titles which
evaluation they are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tui_lora.core.class_report import ClassReport
from tui_lora.core.evaluation import AnswerRow, Evaluation, Figure, LossRow
from tui_lora.core.figures import Heat, TableData, Value

INTERVALS = "95% intervals by bootstrap over rows; base and tuned on the same rows"


def parts_table(found: Evaluation, of: str) -> TableData:
    """Perplexity and loss of every part, before and after."""
    names = ("perplexity base", "perplexity tuned", "loss base", "loss tuned", "loss change")
    columns = ["rows of", "measured", "of", "trained tokens", "counted by"]
    columns += [f"{name}{end}" for name in names for end in ("", " from", " to")]
    columns += ["better", "worse", "cut rows", "cut tokens", "left out", "source"]
    rows: list[tuple[Value, ...]] = []
    for part in found.parts:
        figures = (
            part.base.perplexity,
            part.tuned.perplexity,
            part.base.loss,
            part.tuned.loss,
            part.change,
        )
        rows.append(
            (
                found.called(part.part),
                part.rows,
                part.of,
                part.tokens,
                part.counted_by,
                *(value for figure in figures for value in _three(figure)),
                part.improved,
                part.worsened,
                part.cut_rows,
                part.cut_tokens,
                part.left_out,
                part.source,
            )
        )
    return TableData(f"{found.session}: losses of {of}", tuple(columns), tuple(rows), INTERVALS)


def metrics_table(found: Evaluation, of: str) -> TableData:
    """What the answers are worth, before and after."""
    columns = ["metric", "rows"]
    columns += [f"{side}{end}" for side in ("base", "tuned", "change") for end in _ENDS]
    columns += ["p", "test", "right alone: base", "right alone: tuned", "not scored"]
    rows: list[tuple[Value, ...]] = [
        (
            metric.label,
            metric.rows,
            *_three(metric.base),
            *_three(metric.tuned),
            *_three(metric.change),
            metric.p,
            metric.test,
            metric.only_base,
            metric.only_tuned,
            metric.failed,
        )
        for metric in found.metrics
    ]
    return TableData(
        f"{found.session}: metrics of {of}", tuple(columns), tuple(rows), "95% intervals"
    )


def rows_table(session: str, rows: Iterable[LossRow | AnswerRow], of: str) -> TableData:
    """Every row that was measured: its losses in nats a trained token, or its answers."""
    told: list[tuple[Value, ...]] = []
    for row in rows:
        if isinstance(row, LossRow):
            tokens = max(1, row.tokens)
            losses = (row.base / tokens, row.tuned / tokens)
            told.append((row.part, row.file, row.line, row.begin, row.tokens, *losses, "", "", ""))
        else:
            answers = (row.reference, row.base.text, row.tuned.text)
            told.append(("answer", row.file, row.line, row.question, None, None, None, *answers))
    columns = ("rows of", "file", "line", "row", "trained tokens", "loss base", "loss tuned")
    answered = ("reference", "base's answer", "tuned answer")
    return TableData(f"{session}: rows of {of}", (*columns, *answered), tuple(told))


def confusion_of(session: str, found: ClassReport) -> Heat:
    """Which labels the run's last measurement took for which."""
    note = f"{found.rows:,} held-out rows at step {found.step:,}"
    return confusion_heat(session, found.labels, found.confusion, note)


def confusion_heat(
    session: str, labels: Sequence[str], counts: Sequence[Sequence[int]], note: str
) -> Heat:
    values = tuple(tuple(float(count) for count in row) for row in counts)
    return Heat(
        f"{session}: labels", "rows", "predicted", "true", tuple(labels), tuple(labels), values,
        note, counts=True,
    )  # fmt: skip


_ENDS = ("", " from", " to")


def _three(figure: Figure) -> tuple[float | None, float | None, float | None]:
    return figure.value, figure.low, figure.high
