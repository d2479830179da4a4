"""A curve in one row of glyphs: where it goes, not how high it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

GLYPHS = "▁▂▃▄▅▆"
"""Not the full height, so that curves in rows one above the other stay apart."""


def trend(values: Sequence[float], width: int) -> str:
    """The last values as at most `width` glyphs, the newest at the right.

    More values than columns are averaged; a flat line stays low, values that are not finite drop.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    columns = _averaged(finite, width)
    low, high = min(columns), max(columns)
    # Noise in the last digit is no trend.
    if high - low <= 1e-3 * max(abs(high), abs(low), 1e-12):
        return GLYPHS[0] * len(columns)
    top = len(GLYPHS) - 1
    return "".join(GLYPHS[round((value - low) / (high - low) * top)] for value in columns)


def _averaged(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    means: list[float] = []
    for column in range(width):
        first = column * len(values) // width
        last = max(first + 1, (column + 1) * len(values) // width)
        means.append(sum(values[first:last]) / (last - first))
    return means
