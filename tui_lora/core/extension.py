"""A run made longer: how many steps that is, which settings say so, and what it means for the
learning rate. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.events import RunPlanned
from tui_lora.core.fields import show
from tui_lora.core.schedule_shape import FOLLOWS_LENGTH, Course, course, warmup_steps
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import rate

LENGTH = ("training.epochs", "training.max_steps")
"""The settings that say how long a run is."""

ROSE = 1.05
"""A rate that is this many times the one before goes up."""


@dataclass(frozen=True)
class Extension:
    """A run of `before` steps that will have `steps`, `epochs` passes over the rows; `changes` by
    setting are what makes it so. `now` and `then` are the rate's old and new course, `step` where
    the run stands."""

    changes: Mapping[str, Any]
    step: int
    before: int
    steps: int
    epochs: float
    now: Course
    then: Course

    @property
    def meaning(self) -> str:
        """What it does to the learning rate, in a sentence."""
        was, will = self.now.at(min(self.step, self.before)), self.then.at(self.step)
        end = self.then.at(self.steps)
        name = self.then.scheduler
        if name not in FOLLOWS_LENGTH:
            return f"The rate goes on as it is, {rate(will)}: {name} does not ask how long it is."
        if will > ROSE * was:
            words = f"goes up again from {rate(was)} to {rate(will)}, since {name} is stretched"
            return f"The rate {words} over {self.steps:,} steps."
        if will * ROSE < was:
            longer = warmup_steps(self.then.warmup, self.steps)
            words = f"goes down from {rate(was)} to {rate(will)}, since the warm-up is"
            return f"The rate {words} {longer:,} steps of {self.steps:,} now."
        return f"The rate goes on from {rate(will)} and is {rate(end)} at step {self.steps:,}."


def steps_an_epoch(spec: RunSpec, plan: RunPlanned) -> int | None:
    """Optimizer steps in one pass over the rows; None where the worker's plan does not tell.

    transformers rounds a run of e epochs up to ceil(e × steps) steps; with max steps the plan's
    epochs are micro-batches over all of a pass, of which the last step may have fewer.
    """
    if plan.epochs <= 0 or plan.total_steps <= 0:
        return None
    found = plan.total_steps / plan.epochs
    if spec.training.max_steps is not None:
        return max(1, math.ceil(found - 1e-6))
    return max(1, math.floor(found + 1e-6))


def steps_of(spec: RunSpec, plan: RunPlanned) -> int | None:
    """Steps that a run of `spec` will take, by the plan that the worker made of its rows."""
    if spec.training.max_steps is not None:
        return spec.training.max_steps
    each = steps_an_epoch(spec, plan)
    return None if each is None else math.ceil(spec.training.epochs * each)


def by_steps(spec: RunSpec, plan: RunPlanned, step: int, steps: int) -> Extension:
    """The run made `steps` long; raises UserError where that is no more than it has."""
    if steps <= plan.total_steps:
        raise _no_longer(f"{steps:,} steps", plan)
    # As planned: epochs count micro-batches.
    epochs = steps * plan.epochs / plan.total_steps
    return _extension(spec, plan, step, steps, epochs, {"training.max_steps": steps})


def by_epochs(spec: RunSpec, plan: RunPlanned, step: int, epochs: float) -> Extension:
    """The run made `epochs` passes long; raises UserError where that is no more than it has, and
    where nobody knows how many steps it is."""
    each = steps_an_epoch(spec, plan)
    if each is None:
        raise UserError(
            "how many steps an epoch has is not known.",
            then="Say it in steps: --max-steps 900.",
        )
    steps = math.ceil(epochs * each)
    if steps <= plan.total_steps:
        raise _no_longer(f"{show(float(epochs))} epochs ({steps:,} steps)", plan)
    changes: dict[str, Any] = {"training.epochs": epochs}
    if spec.training.max_steps is not None:
        changes["training.max_steps"] = None
    return _extension(spec, plan, step, steps, epochs, changes)


def goes_further(spec: RunSpec, plan: RunPlanned, step: int, later: RunSpec) -> bool:
    """Whether a finished run of `spec` that stands at `step` would go on as `later`: it is longer,
    or it ended early and what ended it is another now."""
    before, after = plan.total_steps, steps_of(later, plan)
    if after is not None and after > before:
        return True
    was, is_now = spec.evaluation.early_stopping, later.evaluation.early_stopping
    return step < before and was is not None and (is_now is None or is_now > was)


def _extension(
    spec: RunSpec,
    plan: RunPlanned,
    step: int,
    steps: int,
    epochs: float,
    changes: Mapping[str, Any],
) -> Extension:
    before = plan.total_steps
    return Extension(
        changes, step, before, steps, epochs, course(spec, before), course(spec, steps)
    )


def _no_longer(wanted: str, plan: RunPlanned) -> UserError:
    has = f"{plan.total_steps:,} steps, {show(round(plan.epochs, 2))} epochs"
    return UserError(
        f"{wanted} is no longer than the run is: it has {has}.",
        then="Give it more; to end it sooner, stop it.",
    )
