"""What the table of runs teaches of a card."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.measured_runs import Context, MeasuredRun, Peaks, difference, learned_context

HERE = {"card": "NVIDIA GeForce RTX 4080", "driver": "580.82.07", "torch": "2.13.0"}


def run(t: float, context: float | None, **changes: Any) -> MeasuredRun:
    values = {"t": t, "session": "run", **HERE, **changes}
    return MeasuredRun(**values, measured=Peaks(reserved_gib=10.0, context_gib=context))


def learned(*runs: MeasuredRun, **changes: str) -> Context | None:
    return learned_context(runs, **{**HERE, **changes})


def test_the_median_of_the_last_ten() -> None:
    old = [run(t, 1.0) for t in range(20)]
    new = [run(100 + i, 0.40 + 0.01 * i) for i in range(10)]
    # In whatever order they stand: a table may be put together from two machines.
    assert learned(*new, *old) == Context(pytest.approx(0.445), "learned on this card (10 runs)")
    assert learned(run(1, 0.37)) == Context(0.37, "learned on this card (1 run)")


@pytest.mark.parametrize(
    "changes",
    [
        {"card": "Tesla T4"},
        {"driver": "570.1"},
        {"driver": ""},
        {"torch": "2.12.0"},
        {"torch": ""},
    ],
)
def test_of_another_card_driver_or_torch_it_says_nothing(changes: dict[str, str]) -> None:
    assert learned(run(1, 0.4, **changes)) is None
    assert learned(run(1, 0.4), **changes) is None


def test_a_newer_driver_of_the_same_major_version_is_the_same() -> None:
    assert learned(run(1, 0.4, driver="580.1", card="RTX 4080")) is not None


@pytest.mark.parametrize("context", [None, 0.0, 0.001, 9.0])
def test_what_was_not_measured_right_teaches_nothing(context: float | None) -> None:
    assert learned(run(1, context)) is None


def test_the_error_is_a_share_of_what_was_measured() -> None:
    assert difference(11.0, 10.0) == pytest.approx(0.1)
    assert difference(None, 10.0) is None
    assert difference(11.0, None) is None
    assert difference(11.0, 0.0) is None
