"""What a fit check found: the fold over its messages, and until when its figures hold."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.events import MemoryHolder, MemoryRanOut
from tui_lora.core.fit_check import (
    FROM_FIT_CHECK,
    Batch,
    FitBegun,
    FitChecked,
    FitFound,
    FitNoticed,
    FitPhase,
    FitRanOut,
    FitWorking,
    FromFitCheck,
    as_checked,
    settings_that_matter,
)
from tui_lora.core.fit_check_words import batch_words, holders_words, ran_out_words, speed_words
from tui_lora.core.memory import CONTEXT_GIB, Forecast, Parts
from tui_lora.core.out_of_memory import DURING
from tui_lora.core.spec import RunSpec, parse_spec


def begun(**others: Any) -> FitBegun:
    values: dict[str, Any] = {
        "device": "cuda:0",
        "name": "x",
        "total_gib": 16.0,
        "others_gib": 1.0,
        "batch": Batch(rows=4, tokens=2000, longest=500),
        "held_out": None,
        "micro_batches": 2,
        "of_micro_batches": 8,
    }
    return FitBegun(**{**values, **others})


def found(*messages: FromFitCheck) -> FitFound:
    """Each as it comes over the wire."""
    so_far = FitFound()
    for message in messages:
        heard = FROM_FIT_CHECK.decode(FROM_FIT_CHECK.encode(message)).message
        assert heard == message
        so_far = so_far.heard(heard)
    return so_far


def spec(**sections: Any) -> RunSpec:
    return parse_spec({"model": "m", "dataset": "d", **sections})


DONE = FitChecked(step_s=2.0, tokens_per_s=1000.0, context_gib=0.25, context_source="known")
LOADED = FitPhase(
    phase="loaded", seconds=9.0, allocated_gib=4.0, reserved_gib=9.5, process_gib=9.75
)
STEP = FitPhase(
    phase="second step", seconds=2.0, allocated_gib=6.0, reserved_gib=7.0, process_gib=7.25
)


def test_the_peak_is_that_of_all_phases_and_the_rest_is_headroom() -> None:
    whole = found(begun(), LOADED, STEP, DONE)
    assert (whole.peak_allocated_gib, whole.peak_reserved_gib) == (6.0, 9.5)
    # Loading took more than the steps do, and must fit too.
    assert whole.headroom_gib == pytest.approx(16 - 1 - 9.75)
    assert whole.verdict == "fits"
    assert found(begun(total_gib=11.0), LOADED, STEP, DONE).verdict == "tight"
    assert found(begun(total_gib=10.0), LOADED, STEP, DONE).verdict == "does_not_fit"
    # What others hold is not nothing where it is not known.
    unsure = found(begun(others_gib=None), LOADED, STEP, DONE)
    assert (unsure.headroom_gib, unsure.verdict) == (None, "unknown")


def test_what_is_not_told_is_not_known() -> None:
    assert found(begun(), LOADED, STEP).verdict == "unknown"
    assert found(begun(total_gib=None), STEP, DONE).verdict == "unknown"
    silent = STEP.model_copy(update={"process_gib": None})
    some = found(begun(), silent, DONE)
    assert some.peak_process_gib is None
    assert some.headroom_gib == pytest.approx(16 - 1 - 7 - CONTEXT_GIB)


def test_predicted_beside_measured() -> None:
    parts = dict.fromkeys(Parts.model_fields, 0.0) | {"context": 0.3}
    forecast = Forecast(
        method="simulated", parts=Parts(**parts), peak_allocated_gib=6.3, peak_reserved_gib=7.0
    )
    rows = found(begun(), STEP, DONE).compared(forecast)
    assert [(row.name, row.predicted, row.measured) for row in rows] == [
        ("allocated", 6.3, 6.0),
        ("reserved", 7.0, 7.0),
        ("process", 7.3, 7.25),
    ]
    assert rows[0].difference == pytest.approx(0.05)
    assert [row.difference for row in found(begun(), STEP, DONE).compared(None)] == [None] * 3


def test_the_forecast_is_asked_for_the_batch_that_was_measured() -> None:
    checked = as_checked(spec(training={"micro_batch": 8, "max_length": 4096}), begun())
    assert (checked.training.micro_batch, checked.training.max_length) == (4, 500)
    pairs = as_checked(spec(task="dpo"), begun(batch=Batch(rows=4, tokens=8, longest=2)))
    # Two rows are one pair; the least that the setting allows is 8.
    assert (pairs.training.micro_batch, pairs.training.max_length) == (2, 8)


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({"training": {"learning_rate": 1e-3}}, True),
        ({"training": {"epochs": 9}}, True),
        ({"evaluation": {"every_steps": 7}}, True),
        ({"training": {"micro_batch": 16}}, False),
        ({"lora": {"r": 64}}, False),
        ({"dataset": {"path": "d", "eval_share": 0.5}}, False),
        ({"quantization": {"scheme": "nf4"}}, False),
    ],
)
def test_figures_hold_until_a_setting_that_matters_changes(
    changed: dict[str, Any], holds: bool
) -> None:
    assert (settings_that_matter(spec()) == settings_that_matter(spec(**changed))) is holds


def test_the_words() -> None:
    whole = found(begun(), FitWorking(label="x"), STEP, DONE)
    assert batch_words(begun()) == (
        "4 rows of up to 500 tokens, your longest; 2 of 8 micro-batches a step"
    )
    assert speed_words(whole) == (
        "the second step took 2.0 s (1,000 tokens a second), so a whole step of such rows takes "
        "about 8.0 s; shorter rows take less"
    )
    where = MemoryRanOut(
        phase="backward",
        device="cuda:0",
        asked_gib=1.25,
        free_gib=0.31,
        total_gib=15.0,
        held=(MemoryHolder(name="weights", gib=5.0),),
    )
    over = found(begun(), FitRanOut(phase="first step", where=where))
    assert over.verdict == "does_not_fit"
    assert over.ran_out is not None
    said = ran_out_words(over.ran_out)
    assert said.startswith(f"memory ran out in the first step, {DURING['backward']}. 1.25 GiB more")
    assert "weights 5.00" in holders_words(over.ran_out)


def test_warnings_are_kept_and_news_are_not() -> None:
    heard = found(FitNoticed(level="info", text="a"), FitNoticed(level="warning", text="b"))
    assert heard.warnings == ("b",)
