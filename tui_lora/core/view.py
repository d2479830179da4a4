"""The run view: what the events of a session add up to. A fold, and nothing else."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from tui_lora.core import log_words
from tui_lora.core.events import (
    AdapterSaved,
    AttemptFinished,
    AttemptStarted,
    CheckpointSaved,
    Choice,
    ChoicesMade,
    Evaluated,
    Event,
    GuardTripped,
    Heartbeat,
    HoldChanged,
    MemoryCreeps,
    MemoryForecasted,
    MemoryMeasured,
    MemoryRanOut,
    ModelLoaded,
    Notice,
    OrderAnswered,
    Peeked,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
    RunPlanned,
    SpecChanged,
    StepDone,
    Verdict,
)
from tui_lora.core.metrics import known
from tui_lora.core.series import Series
from tui_lora.core.text import clean, duration, number

LOG_LINES = 500
EVALUATIONS = 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the run's log. `t` unix seconds; `text` is clean."""

    t: float
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Phase:
    """Work that is going on: since when (unix seconds), what to expect, how far."""

    name: str
    label: str
    since: float
    expect_s: float | None = None
    done: float | None = None
    total: float | None = None
    unit: str = ""


@dataclass
class RunView:
    """The state of a run as its events tell it; `apply` them in order.

    `spec_changes` is what differs from run.yaml by now, by setting. Forecast and peaks are those of
    the newest attempt, whose settings may be others; `highest_reserved_gib` is that of them all.

    `step_metrics` and `eval_metrics` are the task's own curves by the names of `core/metrics.py`:
    of the micro-batches of a step, and of the held-out rows. Their `best` is the lowest value,
    whichever way is better. One thread folds; it hands others a `snapshot`.
    """

    attempt: int | None = None
    pid: int | None = None
    resumed_from: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    loaded: ModelLoaded | None = None
    plan: RunPlanned | None = None
    phase: Phase | None = None
    phases: list[tuple[str, float]] = field(default_factory=list)
    last_step: StepDone | None = None
    step: int = 0
    first_step_after_s: float | None = None
    base_eval: Evaluated | None = None
    last_eval: Evaluated | None = None
    best_eval: Evaluated | None = None
    spec_changes: dict[str, Any] = field(default_factory=dict)
    forecast: MemoryForecasted | None = None
    measured: MemoryMeasured | None = None
    ran_out: MemoryRanOut | None = None
    creeps: MemoryCreeps | None = None
    checkpoint: CheckpointSaved | None = None
    checkpoint_steps: list[int] = field(default_factory=list)
    adapter: AdapterSaved | None = None
    peeks: int = 0
    holding: bool = False
    holding_since: float | None = None
    verdict: Verdict | None = None
    verdict_message: str = ""
    answers: dict[str, OrderAnswered] = field(default_factory=dict)
    log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    log_lines: int = 0
    started: float | None = None
    attempt_started_t: float | None = None
    attempt_started_mono: float | None = None
    next_sign_s: float | None = None
    last_t: float | None = None
    peak_reserved_gib: float | None = None
    peak_process_gib: float | None = None
    highest_reserved_gib: float | None = None
    events: int = 0
    unreadable: int = 0
    unknown_fields: int = 0
    evaluations: deque[Evaluated] = field(default_factory=lambda: deque(maxlen=EVALUATIONS))

    loss: Series = field(default_factory=Series)
    eval_loss: Series = field(default_factory=Series)
    learning_rate: Series = field(default_factory=Series)
    grad_norm: Series = field(default_factory=Series)
    tokens_per_s: Series = field(default_factory=Series)
    step_metrics: dict[str, Series] = field(default_factory=dict)
    eval_metrics: dict[str, Series] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        self.events += 1
        self.last_t = event.t
        self.started = self.started if self.started is not None else event.t
        match event:
            case StepDone():
                self._step_done(event)
            case Heartbeat():
                self.next_sign_s = event.next_s
            case AttemptStarted():
                self._attempt_started(event)
            case PhaseStarted():
                self.phase = Phase(event.name, clean(event.label), event.t, event.expect_s)
            case PhaseProgressed():
                self._phase_progressed(event)
            case PhaseFinished():
                self.phases.append((event.name, event.seconds))
                if self.phase is not None and self.phase.name == event.name:
                    self.phase = None
            case ModelLoaded():
                self.loaded = event
                self._say(event, "info", log_words.loaded_text(event))
            case ChoicesMade():
                self.choices = tuple(
                    Choice(setting=clean(c.setting), value=clean(c.value), reason=clean(c.reason))
                    for c in event.choices
                )
            case SpecChanged():
                self.spec_changes.update(event.changes)
                self._say(event, "warning", log_words.changed_text(event))
            case MemoryForecasted():
                self.forecast = event
            case MemoryMeasured():
                self.measured = event
                self._reserved(event.peak_reserved_gib)
            case MemoryRanOut():
                self.ran_out = event
            case MemoryCreeps():
                self.creeps = event
                self._say(event, "warning", log_words.creeping_text(event))
            case RunPlanned():
                labels = tuple(clean(label) for label in event.labels)
                self.plan = event.model_copy(update={"labels": labels})
            case Evaluated():
                self._evaluated(event)
            case Peeked():
                self.peeks += 1
                if not event.order:
                    self._say(event, "info", log_words.peeked_text(event))
            case CheckpointSaved():
                self.checkpoint = event
                if event.step is not None:
                    self.checkpoint_steps.append(event.step)
                self._say(event, "info", log_words.checkpoint_text(event))
            case AdapterSaved():
                self.adapter = event
                self._say(event, "info", log_words.adapter_text(event))
            case Notice():
                self._say(event, event.level, event.text)
            case HoldChanged():
                self.holding = event.holding
                # What the step came to is told when the run goes on.
                self.step = max(self.step, event.step or 0)
                self.holding_since = event.t if event.holding else None
            case GuardTripped():
                level = "warning" if event.action == "warn" else "error"
                self._say(event, level, event.text)
            case OrderAnswered():
                self.answers[event.id] = event
                self._say(event, "info" if event.ok else "warning", event.message)
            case AttemptFinished():
                self.verdict, self.verdict_message = event.verdict, clean(event.message)
                self.phase = None
                self._say(
                    event,
                    "info" if event.verdict in ("done", "stopped", "paused") else "error",
                    event.verdict.replace("_", " ")
                    + (f": {event.message}" if event.message else ""),
                )
            case _:
                pass

    def snapshot(self) -> RunView:
        """A view that stays as it is while this one is folded on: for another thread to read."""
        return replace(
            self,
            phases=list(self.phases),
            checkpoint_steps=list(self.checkpoint_steps),
            spec_changes=dict(self.spec_changes),
            answers=dict(self.answers),
            log=self.log.copy(),
            evaluations=self.evaluations.copy(),
            loss=self.loss.copy(),
            eval_loss=self.eval_loss.copy(),
            learning_rate=self.learning_rate.copy(),
            grad_norm=self.grad_norm.copy(),
            tokens_per_s=self.tokens_per_s.copy(),
            step_metrics={name: series.copy() for name, series in self.step_metrics.items()},
            eval_metrics={name: series.copy() for name, series in self.eval_metrics.items()},
        )

    @property
    def total_steps(self) -> int | None:
        return self.plan.total_steps if self.plan else None

    @property
    def task(self) -> str | None:
        return self.plan.task if self.plan else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of a classifier, in the order of its outputs."""
        return self.plan.labels if self.plan else ()

    @property
    def base_metrics(self) -> dict[str, float]:
        """What the base was measured at beside its loss, by the names of `core/metrics.py`."""
        return known(self.base_eval.metrics) if self.base_eval else {}

    @property
    def metrics(self) -> dict[str, float]:
        """The same of the adapter, as it was measured last."""
        return known(self.tuned_eval.metrics) if self.tuned_eval else {}

    @property
    def tuned_eval(self) -> Evaluated | None:
        """The latest evaluation of a trained adapter; at step 0 it is still the base."""
        return self.last_eval if self.last_eval is not None and self.last_eval.step else None

    @property
    def eta_s(self) -> float | None:
        """Seconds left by the worker's own reckoning; None before the first step and at the end."""
        if self.last_step is None or self.verdict is not None:
            return None
        return self.last_step.eta_s

    def _step_done(self, event: StepDone) -> None:
        step = event.step or 0
        self.step, self.last_step = step, event
        # Of a long log only both ends may have been read: the first step seen is then a late one.
        every = self.plan.log_every_steps if self.plan else 1
        is_first = step - (self.resumed_from or 0) <= max(1, every)
        if self.first_step_after_s is None and self.attempt_started_mono is not None and is_first:
            self.first_step_after_s = event.mono - self.attempt_started_mono
            parts = ", ".join(f"{name} {duration(s)}" for name, s in self.phases if s >= 0.5)
            if parts:
                after = duration(self.first_step_after_s)
                self._say(event, "info", f"first step after {after} ({parts})")
        for series, value in (
            (self.loss, event.loss),
            (self.learning_rate, event.learning_rate),
            (self.grad_norm, event.grad_norm),
            (self.tokens_per_s, event.tokens_per_s),
        ):
            if value is not None:
                series.add(step, value)
        _add(self.step_metrics, step, event.metrics)
        if event.loss is not None and not math.isfinite(event.loss):
            self._say(event, "error", f"the loss at step {step} is {number(event.loss)}")
        self.peak_reserved_gib = _higher(self.peak_reserved_gib, event.peak_reserved_gib)
        self.peak_process_gib = _higher(self.peak_process_gib, event.process_gib)
        self._reserved(event.peak_reserved_gib)

    def _attempt_started(self, event: AttemptStarted) -> None:
        self.attempt, self.pid, self.resumed_from = event.attempt, event.pid, event.resumed_from
        self.versions = event.versions
        self.attempt_started_t, self.attempt_started_mono = event.t, event.mono
        self.first_step_after_s = None
        self.phases = []
        self.phase = None
        self.last_step = None
        self.forecast = self.measured = self.ran_out = self.creeps = None
        self.peak_reserved_gib = self.peak_process_gib = None
        self.holding = False
        self.verdict, self.verdict_message = None, ""
        back_to = event.resumed_from or 0
        for series in (
            self.loss,
            self.eval_loss,
            self.learning_rate,
            self.grad_norm,
            self.tokens_per_s,
            *self.step_metrics.values(),
            *self.eval_metrics.values(),
        ):
            series.rewind(back_to)
        self.step = back_to
        self.checkpoint_steps = [step for step in self.checkpoint_steps if step <= back_to]
        while self.evaluations and (self.evaluations[-1].step or 0) > back_to:
            self.evaluations.pop()
        self.last_eval = self.evaluations[-1] if self.evaluations else None
        self.best_eval = min(self.evaluations, key=lambda e: e.loss, default=None)
        if event.resumed_from is not None:
            self._say(event, "info", f"attempt {event.attempt}, resumed from step {back_to}")

    def _reserved(self, gib: float | None) -> None:
        self.highest_reserved_gib = _higher(self.highest_reserved_gib, gib)

    def _phase_progressed(self, event: PhaseProgressed) -> None:
        if self.phase is None or self.phase.name != event.name:
            return
        self.phase = Phase(
            self.phase.name,
            self.phase.label,
            self.phase.since,
            self.phase.expect_s,
            event.done,
            event.total,
            clean(event.unit),
        )

    def _evaluated(self, event: Evaluated) -> None:
        before = self.last_eval
        self.last_eval = event
        self.evaluations.append(event)
        if (event.step or 0) == 0:
            self.base_eval = event
        self.eval_loss.add(event.step or 0, event.loss)
        _add(self.eval_metrics, event.step or 0, event.metrics)
        if self.best_eval is None or event.loss < self.best_eval.loss:
            self.best_eval = event
        self._say(event, "info", log_words.evaluated_text(event, before))

    def _say(self, event: Event, level: str, text: str) -> None:
        self.log.append(LogLine(event.t, level, clean(text, max_chars=2000)))
        self.log_lines += 1


def _add(curves: dict[str, Series], step: int, metrics: dict[str, float]) -> None:
    for name, value in known(metrics).items():
        curves.setdefault(name, Series()).add(step, value)


def perplexity(loss: float | None) -> float | None:
    """exp of a mean cross-entropy in nats (Jelinek et al., 1977); infinity beyond a float."""
    if loss is None:
        return None
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _higher(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return a if b is None else b
    return max(a, b)
