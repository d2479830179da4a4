"""The learning rate's course: the one of transformers' schedulers, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from tests.workers import tiny_spec
from tui_lora.core.schedule_shape import Course
from tui_lora.core.training_spec import TrainingSpec

SCHEDULERS = get_args(TrainingSpec.model_fields["scheduler"].annotation)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_it_rises_to_the_rate_that_was_set_and_never_above(scheduler: str) -> None:
    found = [Course(scheduler, 2e-4, 0.1, 100).at(step) for step in range(101)]
    assert max(found) == pytest.approx(2e-4)
    assert min(found) >= 0
    assert found[0] == (2e-4 if scheduler == "constant" else 0)


def test_a_row_of_it_ends_where_the_run_does() -> None:
    short = Course("linear", 1e-3, 0, 50).glyphs(20, 100, 1e-3)
    assert short == "▇▆▆▅▄▄▃▃▂▁··········"
    assert Course("linear", 1e-3, 0, 100).glyphs(20, 100, 1e-3).count("·") == 0


@pytest.mark.model
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 40), (0.0, 7), (5, 40), (39, 40)])
def test_it_is_that_of_transformers(scheduler: str, warmup: float, steps: int) -> None:
    import torch
    from transformers import get_scheduler

    from tui_lora.worker.schedule import settle_schedule

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    args = _arguments(scheduler, warmup, steps)
    settle_schedule(args, optimizer, steps)
    real = get_scheduler(
        args.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=args.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )
    ours = Course(scheduler, 3e-4, warmup, steps)
    for step in range(steps):
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12), step
        optimizer.step()
        real.step()


def _arguments(scheduler: str, warmup: float, steps: int) -> Any:
    """As a worker makes them of a spec."""
    from transformers import TrainingArguments

    from tui_lora.worker.arguments import _shared, build

    spec = tiny_spec(
        Path("m"),
        Path("d"),
        training__scheduler=scheduler,
        training__warmup=warmup,
        training__max_steps=steps,
    )
    given = _shared(spec, "cpu")[0]
    wanted = ("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "learning_rate")
    taken = {name: given[name] for name in wanted} | {"output_dir": "out", "report_to": "none"}
    return build(TrainingArguments, taken)
