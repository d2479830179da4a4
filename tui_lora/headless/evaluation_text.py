"""The result of an evaluation in lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from tui_lora.core.evaluation import Evaluation, Figure, LossRow, MetricReport, PartReport
from tui_lora.core.significance import LEVEL
from tui_lora.core.text import UNKNOWN, duration, number, one_line

_SHOWN = 3
_WIDE_TABLE = 12


def lines_of(found: Evaluation) -> Iterator[str]:
    """Everything that a person wants to know of it, foreign text clean and in one line."""
    step = f" at step {found.adapter_step:,}" if found.adapter_step is not None else ""
    stored = found.dtype if found.quantization == "none" else found.quantization
    yield (
        f"{one_line(found.session)}{step} on {one_line(found.model)}, {stored} on {found.device}, "
        f"seed {found.seed}, {duration(found.seconds)}"
    )
    if not found.complete:
        yield "Cancelled: these figures are of the rows that were measured, a sample of all."
    for notice in found.notices:
        yield f"! {one_line(notice)}"
    for part in found.parts:
        yield ""
        yield from _part(part, found.called(part.part))
    if found.classes is not None:
        yield ""
        yield from _classes(found)
    for metric in found.metrics:
        yield ""
        yield from _metric(metric)
    if found.answers is not None:
        asked = found.answers
        yield ""
        yield f"greedy answers to {asked.rows:,} of {asked.of:,} rows ({one_line(asked.source)})"
        yield (
            f"  at most {asked.max_new_tokens:,} tokens; cut there: base {asked.cut_base:,}, tuned "
            f"{asked.cut_tuned:,}"
        )
        if asked.left_out:
            yield f"  left out {asked.left_out:,}: {one_line(asked.why_left_out)}"
    yield ""
    yield f"Intervals are {LEVEL}; base and tuned were measured on the same rows."


def _part(part: PartReport, label: str) -> Iterator[str]:
    drawn = f" of {part.of:,}" if part.of != part.rows else ""
    tokens = f", {part.tokens:,} trained tokens" if part.counted_by == "tokens" else ""
    yield f"{label}: {part.rows:,}{drawn} {part.unit}{tokens}"
    yield f"  {one_line(part.source)}"
    yield _line("", "base", "tuned", "change")
    if part.counted_by == "tokens":
        base, tuned = part.base.perplexity, part.tuned.perplexity
        yield _line("perplexity", _figure(base), _figure(tuned), "")
    base, tuned = part.base.loss, part.tuned.loss
    yield _line("loss", _figure(base), _figure(tuned), _figure(part.change, signed=True))
    yield f"  better {part.improved:,}, worse {part.worsened:,}"
    if part.cut_rows:
        yield (
            f"  cut at max length: {part.cut_rows:,} rows, {part.cut_share:.1%} of the tokens that "
            "would count"
        )
    if part.left_out:
        yield f"  left out {part.left_out:,}: {one_line(part.why_left_out)}"
    for what, rows in (("improved", part.most_improved), ("worsened", part.most_worsened)):
        for row in rows[:_SHOWN]:
            yield f"  most {what}  {_row(row)}"


def _row(row: LossRow) -> str:
    tokens = max(1, row.tokens)
    return (
        f"{row.base / tokens:6.3f} to {row.tuned / tokens:6.3f}  "
        f"{one_line(row.begin, max_chars=42)}"
    )


def _metric(metric: MetricReport) -> Iterator[str]:
    share = metric.kind == "right" or metric.unit == "share"
    yield f"{one_line(metric.label)}: {metric.rows:,} rows"
    yield f"  {one_line(metric.why)}"
    yield _line("", "base", "tuned", "change")
    yield _line(
        metric.unit or ("share" if share else "score"),
        _figure(metric.base, share=share),
        _figure(metric.tuned, share=share),
        _figure(metric.change, share=share, signed=True),
    )
    if metric.p is not None:
        alone = ""
        if metric.only_base is not None and metric.only_tuned is not None:
            alone = f" (right alone: base {metric.only_base:,}, tuned {metric.only_tuned:,})"
        yield f"  {metric.test}{alone}: p = {p_value(metric.p)}"
    if metric.failed:
        yield f"  {metric.failed:,} answers could not be scored"
        yield from (f"    {one_line(failure, max_chars=200)}" for failure in metric.failures)


def _classes(found: Evaluation) -> Iterator[str]:
    classes = found.classes
    assert classes is not None
    yield (
        f"macro F1  base {number(classes.base.macro_f1)}   tuned {number(classes.tuned.macro_f1)}"
        f"   ({found.called(classes.part)})"
    )
    if len(classes.labels) > _WIDE_TABLE:
        yield f"the table of {len(classes.labels):,} labels is in the file"
        return
    names = [one_line(label, max_chars=14) for label in classes.labels]
    yield f"{'tuned: true, predicted':<24}" + "".join(f"{name:>15}" for name in names)
    for name, row in zip(names, classes.tuned.confusion, strict=True):
        yield f"  {name:<22}" + "".join(f"{count:>15,}" for count in row)


def p_value(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def _line(label: str, base: str, tuned: str, change: str) -> str:
    return f"  {label:<10} {base:<21} {tuned:<21} {change}".rstrip()


def _figure(figure: Figure, *, share: bool = False, signed: bool = False) -> str:
    """The figure with its interval in brackets."""

    def told(value: float | None) -> str:
        if value is None:
            return UNKNOWN
        text = f"{100 * value:.1f}" if share else number(value)
        return f"+{text}" if signed and value > 0 else text

    unit = "%" if share and figure.value is not None else ""
    if figure.low is None or figure.high is None:
        return f"{told(figure.value)}{unit}"
    return f"{told(figure.value)}{unit} ({told(figure.low)} to {told(figure.high)})"
