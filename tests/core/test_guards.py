"""The guards speak up when they should, once, and at nothing else."""

import math
import random

import pytest

from tui_lora.core.guards import Alarm, Guards
from tui_lora.core.guards_spec import GuardsSpec

ALL = GuardsSpec.model_validate(
    {
        name: "warn"
        for name, info in GuardsSpec.model_fields.items()
        if info.default in ("off", "warn", "pause", "stop")
    }
)


def heard(losses: list[float], spec: GuardsSpec = ALL) -> list[tuple[int, str]]:
    guards = Guards(spec)
    return [
        (step, alarm.guard)
        for step, loss in enumerate(losses)
        for alarm in guards.see_step(step, loss, 1.0)
    ]


def falling(reports: int, noise: float = 0.05) -> list[float]:
    chance = random.Random(7)
    return [2 * math.exp(-step / 150) + 1 + chance.gauss(0, noise) for step in range(reports)]


def test_a_plain_run_is_left_alone() -> None:
    assert heard(falling(400)) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_is_told_once_until_it_passes(bad: float) -> None:
    losses = [*falling(30), bad, bad, 1.5, bad]
    assert heard(losses) == [(30, "nan"), (33, "nan")]
    guards = Guards(ALL)
    assert [alarm.guard for alarm in guards.see_step(1, 1.0, bad)] == ["nan"]
    assert [alarm.guard for alarm in guards.see_evaluation(1, bad)] == []
    assert [alarm.guard for alarm in Guards(ALL).see_evaluation(1, bad)] == ["nan"]


def test_a_spike_is_told_and_a_noisy_run_is_not() -> None:
    losses = falling(100)
    losses[60] = 6.0
    assert heard(losses) == [(60, "loss_spike")]
    assert heard(falling(200, noise=0.4)) == []


def test_a_flat_run_is_a_plateau() -> None:
    assert [guard for _, guard in heard([1.0 + 0.001 * (step % 7) for step in range(250)])] == [
        "plateau"
    ]


def test_no_gradient_three_times() -> None:
    guards = Guards(ALL)
    told = [guards.see_step(step, 1.0, norm) for step, norm in enumerate([0.0, 0.0, 1.0, 0, 0, 0])]
    assert [bool(alarms) for alarms in told] == [False] * 5 + [True]


def test_a_rising_held_out_loss() -> None:
    guards = Guards(ALL)
    told = [
        guards.see_evaluation(step, loss)
        for step, loss in enumerate([2.0, 1.5, 1.51, 1.6, 1.6, 1.52, 1.6, 1.6, 1.7, 1.8])
    ]
    assert [step for step, alarms in enumerate(told) if alarms] == [8]


def test_the_machine() -> None:
    guards = Guards(ALL)

    def see(now: float, **changes: float | None) -> list[str]:
        seen = {"celsius": 60.0, "free_gib": 50.0, "running_s": now, **changes}
        return [alarm.guard for alarm in guards.see_machine(now, **seen)]  # type: ignore[arg-type]

    assert see(0) == see(1, celsius=95.0) == see(30, celsius=95.0) == []
    assert see(61, celsius=95.0) == ["temperature"]
    assert see(62, celsius=95.0) == see(63, celsius=None, free_gib=None) == []
    assert see(64, free_gib=1.0) == ["disk"]
    assert see(13 * 3600.0) == ["wall_clock"]


def test_off_is_silent_and_each_has_its_own_action() -> None:
    assert heard([math.nan], GuardsSpec(nan="off")) == []
    (alarm,) = Guards(GuardsSpec(nan="pause")).see_step(3, math.nan, None)
    assert alarm == Alarm("nan", "pause", "the loss at step 3 is NaN")
