"""Curves: small for ever, with their spikes, and rewound without a seam."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tui_lora.core.series import CAPACITY, Series


def series_of(values: dict[int, float]) -> Series:
    made = Series()
    for step, value in values.items():
        made.add(step, value)
    return made


def test_an_empty_series() -> None:
    empty = Series()
    assert (len(empty), empty.points(80), empty.tail(5), empty.latest) == (0, ([], []), [], None)
    empty.rewind(10)
    assert empty.latest is None


def test_it_stays_within_its_capacity_and_keeps_its_spikes() -> None:
    curve = Series()
    for step in range(1, 100_001):
        curve.add(step, 50.0 if step == 77_777 else -9.0 if step == 12_345 else 1.0)
        assert len(curve) <= CAPACITY
    assert max(bucket.high for bucket in curve.buckets) == 50.0
    assert min(bucket.low for bucket in curve.buckets) == -9.0
    assert (curve.best, curve.best_step) == (-9.0, 12_345)
    assert curve.buckets[0].first == 1
    assert curve.buckets[-1].last == 100_000
    assert sum(bucket.values for bucket in curve.buckets) == 100_000


def test_points_keep_spikes_and_are_at_most_two_a_column() -> None:
    curve = Series()
    for step in range(1, 10_001):
        curve.add(step, 50.0 if step == 7_777 else 1.0)
    for columns in (1, 10, 79, 300):
        steps, values = curve.points(columns)
        assert len(steps) == len(values) <= 2 * columns + 2
        assert max(values) == 50.0
        assert steps == sorted(steps)


def test_few_points_are_drawn_as_they_are() -> None:
    assert series_of({1: 3.0, 2: 2.0, 5: 1.0}).points(80) == ([1, 2, 5], [3.0, 2.0, 1.0])


def test_rewinding_forgets_what_came_after() -> None:
    curve = series_of({step: 10.0 - step for step in range(1, 10)})
    curve.rewind(4)
    assert [bucket.first for bucket in curve.buckets] == [1, 2, 3, 4]
    assert (curve.latest, curve.latest_step, curve.best, curve.best_step) == (6.0, 4, 6.0, 4)
    curve.rewind(-1)
    assert (len(curve), curve.latest, curve.best) == (0, None, None)


def test_a_step_that_comes_again_replaces_what_stood_there() -> None:
    curve = series_of({1: 1.0, 2: 2.0, 3: 3.0})
    curve.add(2, 9.0)
    assert curve.points(80) == ([1, 2], [1.0, 9.0])


def test_rewinding_a_long_run_leaves_no_hole_and_no_double() -> None:
    curve = Series()
    for step in range(1, 10_001):
        curve.add(step, 1.0)
    curve.rewind(5_000)
    assert curve.latest_step == 5_000
    for step in range(5_001, 10_001):
        curve.add(step, 2.0)
    spans = [(bucket.first, bucket.last) for bucket in curve.buckets]
    for (_, end), (begin, _) in itertools.pairwise(spans):
        assert begin == end + 1
    assert curve.points(40)[1][-1] == 2.0


def test_what_is_not_finite_is_counted_and_not_drawn() -> None:
    curve = series_of({1: 1.0, 2: math.nan, 3: math.inf, 4: -math.inf})
    assert curve.not_finite == 3
    assert curve.points(80) == ([1], [1.0])
    assert curve.latest == -math.inf
    assert (curve.best, curve.latest_step) == (1.0, 4)


def test_the_tail_is_what_came_last() -> None:
    assert series_of({step: float(step) for step in range(1, 9)}).tail(3) == [6.0, 7.0, 8.0]


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.integers(-30, 200),
            st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf]),
        ),
        max_size=300,
    ),
    columns=st.integers(1, 200),
)
def test_whatever_comes_steps_stay_in_order(moves: list[tuple[int, float]], columns: int) -> None:
    curve, step = Series(), 0
    for jump, value in moves:
        step = max(0, step + jump)
        curve.add(step, value)
    spans = [(bucket.first, bucket.last) for bucket in curve.buckets]
    assert all(first <= last for first, last in spans)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    steps, values = curve.points(columns)
    assert len(steps) == len(values) <= 2 * columns + 2
    assert all(math.isfinite(value) for value in values)
