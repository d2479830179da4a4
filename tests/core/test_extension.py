"""A run made longer: how many steps, by which settings, and what the rate does then."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.events import RunPlanned
from tui_lora.core.extension import by_epochs, by_steps, goes_further, steps_of
from tui_lora.core.spec import RunSpec, parse_spec


def spec(**training: Any) -> RunSpec:
    return parse_spec({"model": "m", "dataset": "d", "training": training})


def plan(steps: int, epochs: float) -> RunPlanned:
    return RunPlanned(
        total_steps=steps,
        epochs=epochs,
        train_rows=210,
        eval_rows=0,
        rows_per_step=16,
        trainable_parameters=1,
        total_parameters=2,
        device="cpu",
    )


def test_epochs_become_steps_by_the_plan() -> None:
    found = by_epochs(spec(), plan(42, 3), 20, 5)
    assert (found.before, found.steps) == (42, 70)
    assert found.changes == {"training.epochs": 5}


@pytest.mark.parametrize(
    ("steps", "epochs", "asked", "expected"),
    # 14 steps an epoch: 2.5 epochs are 35 steps; 13.2 of it by micro-batches are 14 steps
    [(35, 2.5, 4, 56), (21, 1.5, 3, 42), (10, 0.7, 2, 28)],
)
def test_a_share_of_an_epoch_counts_as_transformers_has_it(
    steps: int, epochs: float, asked: float, expected: int
) -> None:
    assert by_epochs(spec(epochs=epochs), plan(steps, epochs), 5, asked).steps == expected


def test_max_steps_that_decided_give_way_to_epochs() -> None:
    # 100 steps of 8 micro-batches over 106 of them an epoch: 14 steps an epoch, the last short
    found = by_epochs(spec(max_steps=100), plan(100, 800 / 106), 20, 10)
    assert found.steps == 140
    assert found.changes == {"training.epochs": 10, "training.max_steps": None}


def test_steps_are_max_steps() -> None:
    found = by_steps(spec(), plan(42, 3), 20, 84)
    assert found.changes == {"training.max_steps": 84}
    assert found.epochs == pytest.approx(6)


@pytest.mark.parametrize("steps", [1, 42])
def test_what_is_no_longer_is_refused(steps: int) -> None:
    with pytest.raises(UserError, match="no longer than the run is: it has 42 steps, 3 epochs"):
        by_steps(spec(), plan(42, 3), 20, steps)


def test_the_meaning_says_what_the_rate_does() -> None:
    cosine = by_steps(spec(learning_rate=1e-4, warmup=0.0), plan(600, 3), 540, 1200)
    assert cosine.now.at(540) == pytest.approx(2.447e-6, rel=1e-3)
    assert cosine.then.at(540) == pytest.approx(5.782e-5, rel=1e-3)
    assert cosine.meaning == (
        "The rate goes up again from 2.45e-6 to 5.78e-5, since cosine is stretched over "
        "1,200 steps."
    )
    flat = by_steps(spec(scheduler="constant", learning_rate=1e-4), plan(600, 3), 540, 1200)
    assert "constant does not ask how long" in flat.meaning
    begun = by_steps(spec(learning_rate=1e-4, warmup=0.0), plan(600, 3), 1, 601)
    assert begun.meaning == "The rate goes on from 1.00e-4 and is 0 at step 601."
    warming = by_steps(spec(learning_rate=1e-4, warmup=0.1), plan(600, 3), 60, 6000)
    assert "goes down from 1.00e-4 to 1.00e-5, since the warm-up is 600 steps" in warming.meaning


def test_a_finished_run_goes_further_where_it_is_longer_or_ended_early() -> None:
    before = spec()
    longer = spec(epochs=4)
    assert goes_further(before, plan(42, 3), 42, longer)
    assert steps_of(longer, plan(42, 3)) == 56
    assert not goes_further(before, plan(42, 3), 42, spec(micro_batch=1, accumulation=16))
    stopped = before.model_copy(
        update={"evaluation": before.evaluation.model_copy(update={"early_stopping": 3})}
    )
    assert goes_further(stopped, plan(42, 3), 20, before)
    assert not goes_further(stopped, plan(42, 3), 42, before)
    assert not goes_further(stopped, plan(42, 3), 20, stopped)
