"""Intervals by drawing rows again."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tui_lora.worker.intervals import mean_interval, ratio, ratio_interval, sign_flip


def test_the_ratio_counts_tokens_and_not_rows() -> None:
    losses, tokens = np.array([10.0, 1.0]), np.array([2.0, 8.0])
    assert ratio(losses, tokens) == pytest.approx(1.1)
    assert np.isnan(ratio(np.array([]), np.array([])))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random, covered, trials = np.random.default_rng(1), 0, 300
    for trial in range(trials):
        tokens = random.integers(5, 60, size=60).astype(float)
        # Each row has a level of its own, as rows of text have.
        losses = tokens * random.gamma(4.0, 0.5, size=60)
        low, high = ratio_interval(losses, tokens, seed=trial, draws=400) or (0, 0)
        covered += low <= 2.0 <= high
    # The percentile bootstrap of 60 rows is a little narrow: 92 to 95 of 100.
    assert 0.89 <= covered / trials <= 0.98


def test_the_interval_is_that_of_the_seed() -> None:
    losses, tokens = np.arange(1.0, 21), np.full(20, 3.0)
    first = ratio_interval(losses, tokens, seed=5)
    assert first == ratio_interval(losses, tokens, seed=5)
    assert first != ratio_interval(losses, tokens, seed=6)
    # With equal tokens it is the mean's.
    mean = mean_interval(losses / 3, seed=5)
    assert first == pytest.approx(mean)


def test_one_row_has_no_interval() -> None:
    one = np.array([1.0])
    assert ratio_interval(one, one) is None
    assert mean_interval(np.zeros(9)) is None
    assert ratio_interval(np.array([np.nan, 1.0]), np.array([np.nan, np.nan])) is None


def test_the_sign_flip_test_counts_every_choice_of_signs() -> None:
    differences = np.array([0.5, 0.2, -0.1, 0.4, 0.0])
    seen, beyond = 1.0, 0
    for signs in product((-1, 1), repeat=4):
        beyond += abs(np.dot(signs, differences[:4])) >= seen - 1e-12
    p, test = sign_flip(differences)
    assert p == pytest.approx(beyond / 16)
    assert test.startswith("exact")
    # Fisher's Zea mays (Darwin's 15 pairs of plants, in eighths of an inch): p = 0.0527 exactly;
    # 15 differences are drawn here.
    darwin = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])
    p, test = sign_flip(darwin)
    assert p == pytest.approx(0.0527, abs=0.008)
    assert "10,000 draws" in test
    assert sign_flip(np.zeros(3))[0] == 1.0
