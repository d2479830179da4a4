"""Runs beside each other: the table of their figures, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tui_lora.core.evaluation import Evaluation, PartReport
from tui_lora.core.evaluation_sides import why_not_alike
from tui_lora.core.fields import Setting
from tui_lora.core.figures import TableData, Value
from tui_lora.core.run_curve import RunCurve
from tui_lora.core.run_figures import loss_title
from tui_lora.core.spec_differences import Side, compared, why_losses_differ
from tui_lora.core.view import perplexity

MOST_RUNS = 8
LETTERS = "ABCDEFGH"


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is laid over others. `side` is its spec, None where it cannot be read (`problem`
    says why); `evaluation` the newest of its adapter
    that has metrics, None without; `alive`: it goes on."""

    name: str
    status: str
    alive: bool
    task: str
    curve: RunCurve
    steps: int | None = None
    total_steps: int | None = None
    side: Side | None = None
    problem: str = ""
    evaluation: Evaluation | None = None

    @property
    def losses(self) -> list[tuple[int, float]]:
        """Steps and held-out losses of the adapter; at step 0 it is the base's."""
        return [(one.step, one.loss) for one in self.curve.evaluations if one.step]

    @property
    def base_loss(self) -> float | None:
        return next((one.loss for one in self.curve.evaluations if not one.step), None)

    @property
    def last_loss(self) -> float | None:
        return self.losses[-1][1] if self.losses else None

    @property
    def best(self) -> tuple[int, float] | None:
        finite = [one for one in self.losses if one[1] == one[1]]
        return min(finite, key=lambda one: one[1], default=None)

    @property
    def train_loss(self) -> float | None:
        return next((p.loss for p in reversed(self.curve.points) if p.loss is not None), None)

    @property
    def perplexity(self) -> float | None:
        """e to the held-out loss; only where that is a mean over tokens."""
        return perplexity(self.last_loss) if self.task == "sft" else None


@dataclass(frozen=True)
class Figure:
    """A column of the table. `least`: the lowest comes first; `from_width` of a narrow terminal."""

    name: str
    title: str
    unit: str
    of: Callable[[Run], float | None]
    least: bool = True
    width: int = 8
    from_width: int = 0


LOSS = "loss"
"""The unit of a loss, which is not the same for every task."""

RUN_FIGURES = (
    Figure("held-out", "held-out", LOSS, lambda run: run.last_loss),
    Figure("best", "best", LOSS, lambda run: run.best[1] if run.best else None, width=6),
    Figure("perplexity", "perpl.", "", lambda run: run.perplexity, width=6),
    Figure("base", "base", LOSS, lambda run: run.base_loss, width=6, from_width=140),
    Figure("train", "train", LOSS, lambda run: run.train_loss, width=6, from_width=100),
    Figure("speed", "tok/s", "tokens/s", lambda run: run.curve.tokens_per_s, False, 7),
    Figure("memory", "VRAM", "GiB, peak reserved", lambda run: run.curve.peak_gib, width=6),
    Figure("time", "time", "s at work", lambda run: run.curve.seconds, width=11),
)


_LESS_IS_BETTER = ("reward_bad",)
"""Metrics of evaluations of which the lowest is the best; of all others the highest is."""


def metric_columns(runs: Sequence[Run]) -> tuple[Figure, ...]:
    """The tuned model's metrics in the newest evaluation of each run."""
    named = {
        metric.name: metric.label
        for run in runs
        if run.evaluation is not None
        for metric in run.evaluation.metrics
    }

    def value(run: Run, name: str) -> float | None:
        found = run.evaluation.metrics if run.evaluation is not None else ()
        return next((metric.tuned.value for metric in found if metric.name == name), None)

    return tuple(
        Figure(
            name,
            label[:10],
            "tuned",
            lambda run, name=name: value(run, name),  # type: ignore[misc]
            name in _LESS_IS_BETTER,
            10,
            100,
        )
        for name, label in named.items()
    )


def sorted_runs(runs: Sequence[Run], figure: Figure | None) -> list[Run]:
    """The best first by a figure, those that lack it last; without one as they came."""
    if figure is None:
        return list(runs)

    def key(run: Run) -> tuple[bool, float]:
        value = figure.of(run)
        known = value is not None and value == value
        return not known, (value if figure.least else -value) if known and value else 0.0

    return sorted(runs, key=key)


def table_of(runs: Sequence[Run], letters: Sequence[str]) -> TableData:
    """The table as it is saved."""
    figures = (*RUN_FIGURES, *metric_columns(runs))
    tasks = [run.task for run in runs]
    heads = [_head(one, tasks) for one in figures]
    rows: list[tuple[Value, ...]] = []
    for letter, run in zip(letters, runs, strict=True):
        step = run.best[0] if run.best else None
        values = [one.of(run) for one in figures]
        rows.append((letter, run.name, run.status, run.steps, *values, step))
    columns = ("", "run", "status", "steps", *heads, "step of the best")
    return TableData("Runs", columns, tuple(rows), "; ".join(warnings(runs)))


def _head(one: Figure, tasks: Sequence[str]) -> str:
    if one.unit == LOSS:
        return loss_title(one.title, tasks)
    return f"{one.title}, {one.unit}" if one.unit else one.title


@dataclass(frozen=True)
class Differing:
    """A setting that is not the same in all runs; `texts` in their order, `idle` where it changes
    nothing in any."""

    setting: Setting
    texts: tuple[str, ...]
    idle: str = ""


def differing(sides: Sequence[Side | None]) -> tuple[Differing, ...]:
    """What the first side and each other differ in; a side that is unknown has no text."""
    known = [side for side in sides if side is not None]
    if len(known) < 2:
        return ()
    pairs = [compared(known[0], other) for other in known[1:]]
    found = []
    for at, first in enumerate(pairs[0]):
        rows = [pair[at] for pair in pairs]
        if not any(row.differs for row in rows):
            continue
        texts = [_text(first.left_text, first.left_became)]
        texts += [_text(row.right_text, row.right_became) for row in rows]
        told = iter(texts)
        found.append(
            Differing(
                first.setting,
                tuple(next(told) if side is not None else "" for side in sides),
                next((row.idle for row in rows if row.differs), "")
                if all(row.idle for row in rows if row.differs)
                else "",
            )
        )
    return tuple(found)


def warnings(runs: Sequence[Run]) -> tuple[str, ...]:
    """What keeps the held-out losses of these runs, or what their evaluations found, from being
    compared."""
    sides = [run.side for run in runs if run.side is not None and run.losses]
    losses = [why_losses_differ(sides[0], other) for other in sides[1:]]
    found = [run.evaluation for run in runs if run.evaluation is not None]
    metrics = [why for other in found[1:] for why in _why_metrics_differ(found[0], other)]
    told = (("losses do not compare", losses, "; "), ("metrics do not compare", metrics, ", "))
    return tuple(
        f"{what}: {between.join(dict.fromkeys(filter(None, why)))}"
        for what, why, between in told
        if any(why)
    )


def _why_metrics_differ(one: Evaluation, other: Evaluation) -> list[str]:
    """By the rows that the metrics stand on; nothing where they have no metric in common."""
    if not {metric.name for metric in one.metrics} & {metric.name for metric in other.metrics}:
        return []
    both = one.answers is not None and other.answers is not None
    by_part = "sft" not in (one.task, other.task)
    alike = [
        found.model_copy(
            update={
                "parts": _main(found) if by_part else (),
                "answers": found.answers if both else None,
            }
        )
        for found in (one, other)
    ]
    return why_not_alike(*alike)


def _main(found: Evaluation) -> tuple[PartReport, ...]:
    """The part that labels and preferences are counted over; those of sft are over answers."""
    main = found.part("eval") or found.part("train")
    return (main,) if main is not None else ()


def _text(text: str, became: str) -> str:
    return f"{text} → {became}" if became else text
