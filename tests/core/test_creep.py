"""A slow creep of memory is found; what only looks like one is not."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui_lora.core.creep import WARM_UP_STEPS, Creep, CreepWatch

STEPS = 1000


def told(held: list[float], card_gib: float = 16.0) -> list[tuple[int, Creep]]:
    """What is said of a run that holds so much after each of its steps."""
    watch, found = CreepWatch(), []
    for step, gib in enumerate(held, 1):
        creep = watch.see(step, gib, left_gib=card_gib - gib, last_step=len(held))
        if creep is not None:
            found.append((step, creep))
    return found


def noisy(seed: int, size: float = 0.2) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(-size, size) for _ in range(STEPS)]


@settings(max_examples=40, deadline=None)
@given(
    per_step=st.floats(0.008, 0.05),
    noise=st.floats(0, 0.2),
    seed=st.integers(0, 10_000),
)
def test_a_creep_is_named_before_the_card_is_full(per_step: float, noise: float, seed: int) -> None:
    held = [9.0 + per_step * step + wobble for step, wobble in enumerate(noisy(seed, noise))]
    found = told(held)
    assert found
    step, first = found[0]
    full = 7.0 / per_step
    assert step < 0.75 * min(full, STEPS) + 150
    assert first.per_step_gib == pytest.approx(per_step, rel=0.35)
    assert first.full_at(step, 16.0 - held[step - 1]) == pytest.approx(full, rel=0.35)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), size=st.floats(0, 3))
def test_noise_alone_is_none(seed: int, size: float) -> None:
    assert not told([12.0 + wobble for wobble in noisy(seed, size)])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), at=st.integers(0, STEPS), rise=st.floats(0.1, 3))
def test_a_single_rise_is_none(seed: int, at: int, rise: float) -> None:
    held = [11.0 + wobble + rise * (step >= at) for step, wobble in enumerate(noisy(seed, 0.02))]
    assert not told(held)


def test_longer_and_longer_batches_are_hardly_ever_one() -> None:
    """A process keeps what its longest batch so far took: many rises at first, then ever fewer.
    Chance may string some of them like a creep; a warning then is wrong, and rare."""
    wrong = 0
    for seed in range(200):
        rng = random.Random(seed)
        most, held = 0.0, []
        for _ in range(STEPS):
            most = max(most, rng.lognormvariate(0, 0.5))
            held.append(8.0 + min(most, 4.0))
        wrong += bool(told(held))
    assert wrong <= 2


def test_what_settles_in_the_first_steps_is_none() -> None:
    held = [9.0 + 4.0 * min(step, WARM_UP_STEPS) / WARM_UP_STEPS for step in range(STEPS)]
    assert not told(held)


def test_a_creep_that_the_run_outlives_is_none() -> None:
    slow = [9.0 + 0.001 * step for step in range(STEPS)]
    assert not told(slow, card_gib=16.0)
    assert told(slow, card_gib=9.9)


def test_it_is_said_again_only_once_it_has_doubled() -> None:
    held = [9.0 + 0.02 * step for step in range(STEPS)]
    grown = [creep.grown_gib for _, creep in told(held, card_gib=16.0)]
    assert 1 < len(grown) < 6
    assert all(after >= 2 * before for before, after in pairwise(grown))


def test_a_leak_at_each_evaluation_is_one() -> None:
    held = [9.0 + 0.5 * (step // 50) for step in range(STEPS)]
    assert told(held)
