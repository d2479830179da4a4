"""The way of a run in points: by step, by tokens and by time, for laying runs over each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tui_lora.core.events import AttemptStarted, Evaluated, Event, MemoryMeasured, StepDone
from tui_lora.core.metrics import BY_NAME

MOST_POINTS = 20_000
AXES = ("step", "tokens", "time")


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run stood. `tokens` went through the model since its beginning; `seconds` its workers
    were at work, what lay between attempts left out. Memory in GiB."""

    step: int
    tokens: int
    seconds: float
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    memory_gib: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation on the way: loss on held-out rows and the task's metrics."""

    step: int
    tokens: int
    seconds: float
    loss: float
    metrics: tuple[tuple[str, float], ...] = ()


class RunCurve:
    """Folds a session's events in their order; a long run keeps every other point, and again."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.evaluations: list[Measured] = []
        self.peak_gib: float | None = None
        self.seconds: float | None = None
        """At work, to the last step or evaluation that was reported."""
        self.events = 0
        self._stride = 1
        self._skipped = 0
        self._before = 0.0
        self._began: float | None = None

    def apply(self, event: Event) -> None:
        self.events += 1
        match event:
            case AttemptStarted():
                back_to = event.resumed_from or 0
                self.points = [one for one in self.points if one.step <= back_to]
                self.evaluations = [one for one in self.evaluations if one.step <= back_to]
                # What was done after the checkpoint is done again: it was work all the same.
                self._before, self._began = self.seconds or 0.0, event.mono
            case StepDone():
                self._step_done(event)
            case Evaluated():
                tokens = self.points[-1].tokens if self.points else 0
                known = tuple((n, v) for n, v in event.metrics.items() if n in BY_NAME)
                self.seconds = self._seconds(event)
                self.evaluations.append(
                    Measured(event.step or 0, tokens, self.seconds, event.loss, known)
                )
            case MemoryMeasured():
                self._peak(event.peak_reserved_gib)
            case _:
                pass

    def _step_done(self, event: StepDone) -> None:
        self._peak(event.peak_reserved_gib)
        self.seconds = self._seconds(event)
        self._skipped += 1
        if self._skipped < self._stride and event.eta_s:
            return
        self._skipped = 0
        on_card = event.reserved_gib
        self.points.append(
            Point(
                event.step or 0,
                event.tokens_seen,
                self.seconds,
                event.loss,
                event.learning_rate,
                event.grad_norm,
                event.tokens_per_s,
                on_card if on_card is not None else event.process_gib,
            )
        )
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self._stride *= 2

    def _seconds(self, event: Event) -> float:
        return self._before + (event.mono - self._began if self._began is not None else 0.0)

    def _peak(self, gib: float | None) -> None:
        if gib is not None:
            self.peak_gib = gib if self.peak_gib is None else max(self.peak_gib, gib)

    @property
    def tokens_per_s(self) -> float | None:
        """The median of what the steps told: the first ones and pauses do not count."""
        told = sorted(one.tokens_per_s for one in self.points if one.tokens_per_s is not None)
        return told[len(told) // 2] if told else None


@dataclass(frozen=True)
class Shown:
    """A figure of a run's way. `title` carries the unit; `few`: measured now and then."""

    name: str
    title: str
    of: Callable[[Point], float | None] | None = None
    of_eval: Callable[[Measured], float | None] | None = None
    may_log: bool = False

    @property
    def few(self) -> bool:
        return self.of is None


FIGURES = (
    Shown("train", "training loss", lambda one: one.loss, may_log=True),
    Shown("held-out", "held-out loss", of_eval=lambda one: one.loss, may_log=True),
    Shown("rate", "learning rate", lambda one: one.learning_rate, may_log=True),
    Shown("gradient", "gradient norm", lambda one: one.grad_norm, may_log=True),
    Shown("speed", "tokens/s", lambda one: one.tokens_per_s),
    Shown("memory", "GiB (reserved on the card, else the process)", lambda one: one.memory_gib),
)


def metric_figures(curves: Sequence[RunCurve]) -> tuple[Shown, ...]:
    """What the tasks of these runs are measured by beside the loss."""
    named = {name for curve in curves for one in curve.evaluations for name, _ in one.metrics}

    def shown(name: str) -> Shown:
        title = f"{BY_NAME[name].label} on held-out rows"
        return Shown(name, title, of_eval=lambda one: dict(one.metrics).get(name))

    return tuple(shown(name) for name in BY_NAME if name in named)


def points_of(
    curve: RunCurve, shown: Shown, axis: str, weight: float = 0.0
) -> tuple[list[float], list[float]]:
    """x and y of what is finite; y smoothed with `weight` unless it is measured now and then."""
    x: list[float] = []
    y: list[float] = []
    if shown.of is not None:
        for point in curve.points:
            _add(point, shown.of(point), axis, x, y)
    elif shown.of_eval is not None:
        for one in curve.evaluations:
            _add(one, shown.of_eval(one), axis, x, y)
    return x, (y if shown.few else smoothed(y, weight))


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average m = w m + (1 - w) v, divided by 1 - w^t, so that the first values
    are not drawn towards zero (the bias correction of Kingma and Ba, Adam, 2015, section 3)."""
    if not weight:
        return list(values)
    found, average, left = [], 0.0, 1.0
    for value in values:
        average = weight * average + (1 - weight) * value
        left *= weight
        found.append(average / (1 - left))
    return found


def _add(
    one: Point | Measured, value: float | None, axis: str, x: list[float], y: list[float]
) -> None:
    if value is None or not math.isfinite(value):
        return
    x.append(float({"step": one.step, "tokens": one.tokens, "time": one.seconds}[axis]))
    y.append(value)
