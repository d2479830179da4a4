"""What the guards see in a run: a fold over its losses and sensors that says when to be alarmed."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

from tui_lora.core.guards_spec import Action, GuardsSpec
from tui_lora.core.text import duration, number

SPIKE_AMONG = 50
SPIKE_LEAST = 20
SPIKE_SPREADS = 8.0
SPIKE_SHARE = 0.3
NO_GRADIENT_REPORTS = 3
PLATEAU_REPORTS = 100
OVERFITTING_EVALUATIONS = 3
OVERFITTING_SHARE = 0.02
HOT_S = 60.0
_MAD_TO_SIGMA = 1.4826
"""Of a normal distribution: sigma is 1.4826 times the median absolute deviation (Hampel, 1974)."""


@dataclass(frozen=True)
class Alarm:
    """A guard saw what it watches for. `guard` is its setting's name; `text` is for people."""

    guard: str
    action: Action
    text: str


class Guards:
    """Tell it what happens, in order; it says what is alarming, each thing once until it passes."""

    def __init__(self, spec: GuardsSpec) -> None:
        self._spec = spec
        self._losses: deque[float] = deque(maxlen=2 * PLATEAU_REPORTS)
        self._without_gradient = 0
        self._best_eval: float | None = None
        self._worse_evals = 0
        self._hot_since: float | None = None
        self._loud: set[str] = set()

    def see_step(self, step: int, loss: float | None, grad_norm: float | None) -> tuple[Alarm, ...]:
        """A report of a step: its mean loss in nats and its gradient norm before clipping."""
        alarms = [
            self._nan(step, loss, grad_norm),
            self._gradient(step, grad_norm),
        ]
        if loss is not None and math.isfinite(loss):
            alarms.append(self._spike(step, loss))
            self._losses.append(loss)
            alarms.append(self._plateau(step))
        return _those(alarms)

    def see_evaluation(self, step: int, loss: float) -> tuple[Alarm, ...]:
        """The held-out loss at a step."""
        if not math.isfinite(loss):
            return _those([self._alarm("nan", True, f"the held-out loss is {number(loss)}")])
        best = self._best_eval
        if best is None or loss < best:
            self._best_eval, self._worse_evals = loss, 0
        elif loss >= best * (1 + OVERFITTING_SHARE):
            self._worse_evals += 1
        else:
            self._worse_evals = 0
        text = (
            f"over-fitting: the held-out loss is {number(loss)} at step {step:,} and was above "
            f"its best ({number(self._best_eval)}) {self._worse_evals} times in a row"
        )
        return _those(
            [self._alarm("overfitting", self._worse_evals >= OVERFITTING_EVALUATIONS, text)]
        )

    def see_machine(
        self, now_s: float, *, celsius: float | None, free_gib: float | None, running_s: float
    ) -> tuple[Alarm, ...]:
        """The sensors at a moment of a clock that only grows; None where one says nothing."""
        spec = self._spec
        hot = celsius is not None and celsius > spec.temperature_celsius
        self._hot_since = (self._hot_since or now_s) if hot else None
        long_hot = self._hot_since is not None and now_s - self._hot_since >= HOT_S
        full = free_gib is not None and free_gib < spec.disk_gib
        late = running_s > 3600 * spec.wall_clock_hours
        return _those(
            [
                self._alarm(
                    "temperature",
                    long_hot,
                    f"the card is at {celsius or 0:.0f} °C, above {spec.temperature_celsius} for a "
                    "minute",
                ),
                self._alarm(
                    "disk",
                    full,
                    f"{free_gib or 0:.1f} GiB are free where the session lies, less than "
                    f"{spec.disk_gib:g}",
                ),
                self._alarm(
                    "wall_clock",
                    late,
                    f"the attempt has run for {duration(running_s)}, longer than "
                    f"{spec.wall_clock_hours:g} hours",
                ),
            ]
        )

    def _nan(self, step: int, loss: float | None, grad_norm: float | None) -> Alarm | None:
        for what, value in (("loss", loss), ("gradient norm", grad_norm)):
            if value is not None and not math.isfinite(value):
                return self._alarm("nan", True, f"the {what} at step {step:,} is {number(value)}")
        return self._alarm("nan", False, "")

    def _gradient(self, step: int, grad_norm: float | None) -> Alarm | None:
        if grad_norm is None:
            return None
        self._without_gradient = self._without_gradient + 1 if grad_norm == 0 else 0
        text = f"the gradient norm is 0 at step {step:,}: nothing is learned"
        return self._alarm("no_gradient", self._without_gradient >= NO_GRADIENT_REPORTS, text)

    def _spike(self, step: int, loss: float) -> Alarm | None:
        among = list(self._losses)[-SPIKE_AMONG:]
        if len(among) < SPIKE_LEAST:
            return None
        middle = statistics.median(among)
        spread = _MAD_TO_SIGMA * statistics.median(abs(one - middle) for one in among)
        high = loss > middle + max(SPIKE_SPREADS * spread, SPIKE_SHARE * abs(middle))
        text = (
            f"loss spike: {number(loss)} at step {step:,}; the median of the last {len(among)} "
            f"reports is {number(middle)}"
        )
        return self._alarm("loss_spike", high, text)

    def _plateau(self, step: int) -> Alarm | None:
        if len(self._losses) < 2 * PLATEAU_REPORTS:
            return None
        losses = list(self._losses)
        before = statistics.median(losses[:PLATEAU_REPORTS])
        now = statistics.median(losses[PLATEAU_REPORTS:])
        text = (
            f"plateau: the median loss of the last {PLATEAU_REPORTS} reports is {number(now)} at "
            f"step {step:,}, and was {number(before)} before them"
        )
        return self._alarm("plateau", now >= before, text)

    def _alarm(self, guard: str, seen: bool, text: str) -> Alarm | None:
        """An alarm where it is seen and was not seen a moment ago."""
        action: Action = getattr(self._spec, guard)
        if not seen:
            self._loud.discard(guard)
            return None
        if action == "off" or guard in self._loud:
            return None
        self._loud.add(guard)
        return Alarm(guard, action, text)


def _those(alarms: list[Alarm | None]) -> tuple[Alarm, ...]:
    return tuple(alarm for alarm in alarms if alarm is not None)
