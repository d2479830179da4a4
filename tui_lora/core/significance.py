"""Whether base and tuned differ by more than chance, where each row was right or wrong."""

from __future__ import annotations

from math import comb, sqrt

Z = 1.959963984540054
"""Of 95%: the normal distribution holds so much within this many standard deviations."""

LEVEL = "95%"


def mcnemar(only_base: int, only_tuned: int) -> float:
    """The exact two-sided p-value that rows which only one of them has right fall as unevenly as
    they do: a fair coin thrown `only_base` + `only_tuned` times.

    McNemar 1947 in its exact form (the binomial test of the discordant pairs); 1 without any.
    """
    thrown, fewer = only_base + only_tuned, min(only_base, only_tuned)
    tail = sum(comb(thrown, k) for k in range(fewer + 1))
    # In integers: thousands of rows are beyond a float.
    return min(1.0, 2 * tail / (1 << thrown)) if thrown else 1.0


def share_interval(right: int, rows: int) -> tuple[float, float] | None:
    """The 95% interval of a share: Wilson's score interval (Wilson 1927), which also says something
    where none or all are right. None without rows."""
    if rows <= 0:
        return None
    share, z2 = right / rows, Z * Z
    middle = share + z2 / (2 * rows)
    half = Z * sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    below = 1 + z2 / rows
    return max(0.0, (middle - half) / below), min(1.0, (middle + half) / below)


def difference_interval(
    both: int, only_base: int, only_tuned: int, neither: int
) -> tuple[float, float] | None:
    """The 95% interval of the share of tuned less that of base, over the same rows.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17: his method 10, two Wilson intervals put
    together by the correlation of the pairs. None without rows.
    """
    rows = both + only_base + only_tuned + neither
    tuned = share_interval(both + only_tuned, rows)
    base = share_interval(both + only_base, rows)
    if tuned is None or base is None:
        return None
    p_tuned, p_base = (both + only_tuned) / rows, (both + only_base) / rows
    below_t, above_t = p_tuned - tuned[0], tuned[1] - p_tuned
    below_b, above_b = p_base - base[0], base[1] - p_base
    phi = _correlation(both, only_base, only_tuned, neither)
    below = sqrt(max(0.0, below_t**2 - 2 * phi * below_t * above_b + above_b**2))
    above = sqrt(max(0.0, above_t**2 - 2 * phi * above_t * below_b + below_b**2))
    difference = p_tuned - p_base
    return max(-1.0, difference - below), min(1.0, difference + above)


def _correlation(both: int, only_base: int, only_tuned: int, neither: int) -> float:
    """phi of the fourfold table, drawn towards 0 where it is positive (Newcombe's correction)."""
    rows = both + only_base + only_tuned + neither
    sides = (
        (both + only_base) * (only_tuned + neither) * (both + only_tuned) * (only_base + neither)
    )
    if not sides:
        return 0.0
    cross = float(both * neither - only_base * only_tuned)
    if cross > 0:
        cross = max(0.0, cross - rows / 2)
    return cross / sqrt(sides)
