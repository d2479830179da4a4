"""The search for the largest value that fits, in a made-up card's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tui_lora.core.advice import Largest
from tui_lora.core.memory import Forecast, Parts
from tui_lora.core.spec import parse_spec
from tui_lora.worker.memory.largest import MOST_SIMULATED, SEARCHES, Searching

LENGTH, ROWS, RANK = SEARCHES
Gib = Callable[[int], float | None]

TOTAL = 16.0


def found_by(search: Any, takes: Gib, *, context: int | None = 4096, **training: Any) -> Largest:
    spec = parse_spec({"model": "m", "dataset": "d", "training": training})
    section, name = search.setting.split(".")

    def of(value: int) -> Forecast | None:
        gib = takes(value)
        if gib is None:
            return None
        zero = dict.fromkeys(Parts.model_fields, 0.0)
        return Forecast(
            method="simulated",
            parts=Parts(**zero),
            peak_allocated_gib=0.0,
            peak_reserved_gib=gib,
        )

    def value_of(of_spec: Any) -> int:
        return int(getattr(getattr(of_spec, section), name))

    base = of(value_of(spec))
    assert base is not None
    searching = Searching(search, spec, base, context)
    many = 0
    while searching.next(0.95 * TOTAL):
        wanted = searching.spec
        found = None if wanted is None else of(value_of(wanted))
        many += found is not None
        searching.told(found)
    assert many <= MOST_SIMULATED
    return searching.answer(TOTAL, 0.0)


@pytest.mark.parametrize(
    ("search", "takes", "value", "limit"),
    [
        # 15.2 GiB are to be had.
        (LENGTH, lambda n: 5 + n / 400, 4032, "memory"),
        (LENGTH, lambda n: 5 + n / 1000, 4096, "context"),
        (LENGTH, lambda n: 14 + n / 1000, 1152, "memory"),
        (LENGTH, lambda n: 14 + n / 200, 192, "memory"),
        (LENGTH, lambda n: max(6 + n / 1000, 2 + n / 250), 3264, "memory"),
        (LENGTH, lambda n: 4 + (n / 1000) ** 2, 3328, "memory"),
        (LENGTH, lambda n: 20 + n / 1000, None, "memory"),
        (ROWS, lambda n: 4 + 0.7 * n, 16, "memory"),
        (ROWS, lambda n: 10 + 4.0 * n, 1, "memory"),
        (ROWS, lambda n: 4 + 0.001 * n, 1024, "setting"),
        (RANK, lambda n: 4 + 0.0199 * n, 560, "memory"),
        (RANK, lambda n: 15.1 + 0.02 * n, 4, "memory"),
        # One row alone may take more than two, where a card lacks a kernel for it.
        (ROWS, lambda n: 20 if n == 1 else 4 + 0.7 * n, 16, "memory"),
    ],
)
def test_the_largest_that_fits_is_found(search: Any, takes: Gib, value: Any, limit: str) -> None:
    found = found_by(search, takes)
    assert (found.value, found.limit) == (value, limit)
    if value is not None:
        assert found.peak_process_gib == takes(value) <= 0.95 * TOTAL
    else:
        assert found.said == "even at 64 it takes 20.1 of 16 GiB, which does not fit"


def test_no_longer_than_the_model_was_built_for() -> None:
    assert found_by(LENGTH, lambda n: 5 + n / 1000, max_length=8192).value == 4096
    found = found_by(LENGTH, lambda n: 5 + n / 1e6, context=None)
    assert found.value == 1_048_576
    assert found.said == "the setting ends at 1,048,576"


@pytest.mark.parametrize(("most", "value"), [(896, 896), (60, 60), (16, 16), (17, 16)])
def test_what_would_be_refused_is_found_between_simulations(most: int, value: int) -> None:
    """A layer of 896 x 896 takes no larger rank."""
    found = found_by(RANK, lambda n: 4 + 0.001 * n if n <= most else None)
    assert (found.value, found.limit) == (value, "setting")
    assert found.said == f"{value + 4:,} would be refused, or cannot be told"


def test_what_is_tight_is_called_so() -> None:
    assert (
        found_by(ROWS, lambda n: 4 + 0.7 * n).said
        == "at 17 it takes 15.9 of 16 GiB, which is tight"
    )
