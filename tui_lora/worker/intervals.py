"""Intervals and tests by drawing rows again: what another dataset of the same kind might say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
_AT_ONCE = 1 << 21
_EXACT_UP_TO = 14
_FLIPS = 10_000

Floats = NDArray[np.float64]


def ratio(losses: Floats, weights: Floats) -> float:
    """The loss of a token: the sum of the rows' losses over the sum of their tokens. NaN without
    any."""
    tokens = float(weights.sum())
    return float(losses.sum()) / tokens if tokens else float("nan")


def ratio_interval(
    losses: Floats, weights: Floats, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float] | None:
    """The 95% interval of `ratio` for independent rows, by the percentile bootstrap (Efron 1979):
    rows are drawn again with their tokens, so that a row is the unit and not its tokens. None for
    fewer than two rows."""
    return _interval(len(losses), seed, draws, lambda at: _drawn_ratio(losses, weights, at))


def mean_interval(values: Floats, seed: int = 0, draws: int = DRAWS) -> tuple[float, float] | None:
    """The same of the mean of rows that count alike. None also where all are the same: they do not
    show how far others would lie."""
    if len(values) and bool((values == values[0]).all()):
        return None
    return _interval(len(values), seed, draws, lambda at: values[at].mean(axis=1))


def sign_flip(differences: Floats, seed: int = 0) -> tuple[float, str]:
    """The two-sided p-value that paired differences lie as far from 0 as they do in the mean when
    the sign of each is chance (Fisher 1935, the randomization test for pairs); and the test's name.

    Every choice of signs up to 14 differences that are not 0; else 10,000 drawn ones, of which the
    one at hand counts as one.
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0, "sign-flip test: no row differs"
    # A sum that is the same but for rounding counts as the same.
    seen = abs(float(moved.sum())) * (1 - 1e-9)
    if len(moved) <= _EXACT_UP_TO:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(moved))))
        return float(np.mean(np.abs(signs @ moved) >= seen)), "exact sign-flip test"
    random, beyond, left = np.random.default_rng(seed), 0, _FLIPS
    while left:
        some = min(left, max(1, _AT_ONCE // len(moved)))
        signs = random.integers(0, 2, size=(some, len(moved)), dtype=np.int8) * 2.0 - 1.0
        beyond += int((np.abs(signs @ moved) >= seen).sum())
        left -= some
    return (beyond + 1) / (_FLIPS + 1), f"sign-flip test, {_FLIPS:,} draws"


def _drawn_ratio(losses: Floats, weights: Floats, at: NDArray[np.int64]) -> Floats:
    tokens = weights[at].sum(axis=1)
    found: Floats = losses[at].sum(axis=1) / np.where(tokens > 0, tokens, np.nan)
    return found


def _interval(
    rows: int, seed: int, draws: int, statistic: Callable[[NDArray[np.int64]], Floats]
) -> tuple[float, float] | None:
    if rows < 2:
        return None
    random = np.random.default_rng(seed)
    found: list[Floats] = []
    some = max(1, _AT_ONCE // rows)
    for begun in range(0, draws, some):
        drawn = random.integers(0, rows, size=(min(some, draws - begun), rows))
        found.append(statistic(drawn))
    all_ = np.concatenate(found)
    low, high = np.nanpercentile(all_, (2.5, 97.5)) if np.isfinite(all_).any() else (np.nan,) * 2
    return (float(low), float(high)) if np.isfinite((low, high)).all() else None
