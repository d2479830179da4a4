"""A run's figures in fixed columns, or in three rows where there is little room."""

from __future__ import annotations

from textual.content import Content

from tui_lora.core.metrics import IN_SHORT, METRICS, Metric, figure
from tui_lora.core.run_memory import RunMemory, run_memory
from tui_lora.core.sensors import CardReading, SensorReading
from tui_lora.core.series import Series
from tui_lora.core.text import count, number, rate
from tui_lora.core.view import RunView, perplexity
from tui_lora.ui.ink import GOOD, STRONG, TIGHT, WRONG, dim, fitting, ink, join, left, right
from tui_lora.ui.run_memory_text import memory_pieces, memory_rows
from tui_lora.ui.state import RunNow, RunOnCard
from tui_lora.ui.widgets.trend import trend

LABEL = 11
FIGURE = 9
TREND = 14


def number_rows(run: RunNow, sensors: SensorReading | None = None) -> list[Content]:
    """The figures beside the curve, in fixed columns."""
    view = run.view
    last = view.last_step
    rows = [
        join(" " * LABEL, right(dim("now"), FIGURE), right(dim("best"), FIGURE)),
        _figures("train", number(view.loss.latest), number(view.loss.best), _at(view.loss)),
        _figures(
            "held-out",
            number(view.eval_loss.latest),
            number(view.eval_loss.best),
            "",
            view.eval_loss,
        ),
        Content(""),
        _moving("rate", rate(view.learning_rate.latest), view.learning_rate),
        _moving("gradient", number(view.grad_norm.latest), view.grad_norm),
        _moving("tokens/s", number(view.tokens_per_s.latest), view.tokens_per_s),
        join(
            left(dim("tokens"), LABEL),
            right(ink(count(last.tokens_seen if last else None)), FIGURE),
        ),
        Content(""),
        *_memory_rows(run, sensors),
        Content(""),
        *(_perplexity_rows(run) if run.task == "sft" else _metric_rows(view)),
    ]
    if view.loss.not_finite:
        rows.append(ink(f"! {view.loss.not_finite} losses were not finite", WRONG))
    return rows


def short_rows(run: RunNow, width: int, sensors: SensorReading | None = None) -> list[Content]:
    """The same in three rows, for a narrow terminal."""
    view = run.view
    last = view.last_step
    base = perplexity(view.base_eval.loss if view.base_eval else None)
    losses = [
        _pair("train", number(view.loss.latest)),
        _pair("best", number(view.loss.best)),
        join(_pair("held-out", number(view.eval_loss.latest)), " ", _direction(view.eval_loss)),
    ]
    if run.task != "sft":
        # Each figure behind the loss of the rows that it was measured on.
        short = [metric for metric in _had(view) if metric.name in IN_SHORT]
        losses = [
            losses[0],
            *(
                _latest(m, view.step_metrics[m.name])
                for m in short
                if view.step_metrics.get(m.name)
            ),
            losses[2],
            *(
                _latest(m, view.eval_metrics[m.name])
                for m in short
                if not view.step_metrics.get(m.name)
            ),
        ]
    elif base is not None:
        now = perplexity(view.tuned_eval.loss if view.tuned_eval else None)
        losses.append(join(dim("perplexity "), ink(f"{number(base)} → {number(now)}")))
    speed = [
        _pair("rate", rate(view.learning_rate.latest)),
        _pair("gradient", number(view.grad_norm.latest)),
        join(
            _pair("tokens/s", number(view.tokens_per_s.latest)), " ", _glyphs(view.tokens_per_s, 10)
        ),
        join(ink(count(last.tokens_seen if last else None)), dim(" tokens")),
    ]
    found = memory_of(run, sensors)
    if found is not None:
        memory = fitting(memory_pieces(view, found), width, "  ")
    else:
        memory = fitting([_pair(*row) for row in _own_memory(view)], width)
    return [fitting(losses, width), fitting(speed, width), memory]


def memory_of(run: RunNow, sensors: SensorReading | None) -> RunMemory | None:
    """What the run holds of its card; None of one that trains on the processor."""
    card = card_of(run, sensors) if run.status.alive else None
    return run_memory(run.view, card)


def on_card(run: RunNow, sensors: SensorReading | None) -> RunOnCard:
    """What the top line has to know of a run."""
    found = memory_of(run, sensors)
    devices = run.spec.hardware.devices if run.spec is not None else "auto"
    if found is None:
        return RunOnCard(devices)
    known = found.predicted is not None and found.others is not None
    peak = (found.predicted or 0.0) + (found.others or 0.0) if known else None
    return RunOnCard(devices, found.growth, peak)


def card_of(run: RunNow, sensors: SensorReading | None) -> CardReading | None:
    """The card that the run uses, as far as its settings tell."""
    if sensors is None or (run.view.plan is not None and run.view.plan.device == "cpu"):
        return None
    return sensors.card_of(run.spec.hardware.devices if run.spec is not None else "auto")


def headline(run: RunNow) -> tuple[str, str, str] | None:
    """The first metric that was measured on held-out rows: its label, the base's and the last."""
    before, after = run.view.base_eval, run.view.tuned_eval
    for metric in METRICS:
        if after is not None and metric.name in after.metrics:
            base = before.metrics.get(metric.name) if before is not None else None
            return (
                metric.label,
                figure(metric.name, base),
                figure(metric.name, after.metrics[metric.name]),
            )
    return None


def _had(view: RunView) -> list[Metric]:
    return [m for m in METRICS if m.name in view.step_metrics or m.name in view.eval_metrics]


def _latest(metric: Metric, series: Series) -> Content:
    return _pair(metric.label, figure(metric.name, series.latest))


def _metric_rows(view: RunView) -> list[Content]:
    if not _had(view):
        return []
    rows = [join(" " * LABEL, right(dim("train"), FIGURE), right(dim("held-out"), FIGURE))]
    for metric in _had(view):
        trained, held_out = view.step_metrics.get(metric.name), view.eval_metrics.get(metric.name)
        drawn = trained or held_out
        rows.append(
            join(
                left(dim(metric.label), LABEL),
                right(figure(metric.name, trained.latest if trained else None), FIGURE),
                right(
                    ink(figure(metric.name, held_out.latest if held_out else None), STRONG), FIGURE
                ),
                "  ",
                _glyphs(drawn, TREND) if drawn else "",
            )
        )
    return rows


def _figures(label: str, now: str, best: str, note: str, series: Series | None = None) -> Content:
    tail = dim(f"  {note}") if note else Content("")
    if series is not None:
        tail = join("  ", _direction(series))
    return join(left(dim(label), LABEL), right(ink(now, STRONG), FIGURE), right(best, FIGURE), tail)


def _at(series: Series) -> str:
    return f"step {series.best_step:,}" if series.best_step is not None else ""


def _direction(series: Series) -> Content:
    """Whether the last held-out loss is the best so far."""
    if series.latest is None or series.best is None:
        return Content("")
    if len(series) < 2:
        # Measured before the first step, so of an adapter that does nothing yet.
        return dim("the base's") if series.latest_step == 0 else Content("")
    if series.latest <= series.best:
        return ink("▼ improving", GOOD)
    return ink(f"▲ best at {series.best_step:,}", TIGHT)


def _moving(label: str, value: str, series: Series) -> Content:
    return join(left(dim(label), LABEL), right(value, FIGURE), "  ", _glyphs(series, TREND))


def _glyphs(series: Series, width: int) -> Content:
    return dim(trend(series.tail(4 * width), width))


def _pair(label: str, value: str, unit: str = "") -> Content:
    return join(dim(f"{label} "), ink(value), dim(f" {unit}" if unit else ""))


def _memory_rows(run: RunNow, sensors: SensorReading | None) -> list[Content]:
    found = memory_of(run, sensors)
    if found is not None:
        return memory_rows(run.view, found)
    return [
        join(left(dim(label), LABEL + 4), right(value, FIGURE - 4), dim(f" {unit}"))
        for label, value, unit in _own_memory(run.view)
    ]


def _own_memory(view: RunView) -> list[tuple[str, str, str]]:
    """Label, figure, unit of the worker's resident memory, where no card is used."""
    now = view.last_step.process_gib if view.last_step is not None else None
    return [
        ("process memory", number(now), "GiB"),
        ("peak", number(view.peak_process_gib), "GiB"),
    ]


def _perplexity_rows(run: RunNow) -> list[Content]:
    view = run.view
    if view.base_eval is None:
        return []
    base = number(perplexity(view.base_eval.loss))
    now = number(perplexity(view.tuned_eval.loss if view.tuned_eval else None))
    return [
        dim("perplexity on held-out rows"),
        join(left(dim("base"), LABEL), right(base, FIGURE)),
        join(left(dim("tuned"), LABEL), right(ink(now, STRONG), FIGURE)),
    ]
