"""Tests and intervals against published examples."""

from __future__ import annotations

import pytest

from tui_lora.core.significance import difference_interval, mcnemar, share_interval


@pytest.mark.parametrize(
    ("only_base", "only_tuned", "p"),
    [
        # By hand: 2 (C(8,0) + C(8,1)) / 2^8 and 2 (1 + 10 + 45) / 2^10.
        (1, 7, 18 / 256),
        (2, 8, 112 / 1024),
        (0, 0, 1.0),
        (3, 3, 1.0),
        (0, 5000, 0.0),
    ],
)
def test_the_exact_mcnemar_test(only_base: int, only_tuned: int, p: float) -> None:
    assert mcnemar(only_base, only_tuned) == pytest.approx(p)
    assert mcnemar(only_tuned, only_base) == pytest.approx(p)


@pytest.mark.parametrize(
    ("right", "rows", "interval"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I,
        # method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilsons_interval(right: int, rows: int, interval: tuple[float, float]) -> None:
    assert share_interval(right, rows) == pytest.approx(interval, abs=5e-5)


def test_newcombes_interval_of_a_paired_difference() -> None:
    # His example of 36, 12, 2 and 0 of 50 pairs, method 10.
    assert difference_interval(36, 2, 12, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    low, high = difference_interval(36, 12, 2, 0) or (0, 0)
    assert (low, high) == pytest.approx((-0.3404, -0.0569), abs=5e-5)
    # Where nothing differs there is still a range.
    low, high = difference_interval(0, 0, 0, 8) or (0, 0)
    assert low < 0 < high


def test_nothing_is_known_of_no_rows() -> None:
    assert share_interval(0, 0) is None
    assert difference_interval(0, 0, 0, 0) is None
