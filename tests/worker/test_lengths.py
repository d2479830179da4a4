"""Lengths added up: buckets, shares of padding, and a sample that stays spread."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_lora.worker.lengths import (
    Measured,
    Sample,
    bucket_edges,
    packed_share,
    padded_share,
    summed_up,
)

pytestmark = pytest.mark.model


@given(
    lengths=st.lists(st.integers(0, 200_000), min_size=1, max_size=50).map(sorted),
    max_length=st.integers(8, 4096),
)
def test_every_length_has_a_bucket(lengths: list[int], max_length: int) -> None:
    edges = bucket_edges(lengths, max_length)
    assert list(edges) == sorted(set(edges))
    assert edges[0] == 0
    assert lengths[-1] < edges[-1]
    assert len(edges) <= 70
    if max_length < lengths[-1]:
        assert max_length in edges


def test_padding_is_what_micro_batches_have_too_much() -> None:
    assert padded_share([[10], [30], [20], [20]], 1024, 2) == pytest.approx(20 / 100, abs=1e-4)
    assert padded_share([[10], [30]], 10, 2) == 0
    # A pair is padded together, both its sequences.
    assert padded_share([[10, 40]], 1024, 1) == pytest.approx(30 / 80, abs=1e-4)
    assert padded_share([], 1024, 2) is None


def test_packing_is_as_trl_packs() -> None:
    assert packed_share([[6], [5], [4], [3]], 10) == pytest.approx(2 / 20, abs=1e-4)
    assert packed_share([[25], [25]], 10) == 0
    assert packed_share([], 10) is None


def test_a_sample_keeps_to_its_size_and_stays_spread() -> None:
    sample = Sample(10)
    for number in range(1000):
        if sample.wants(number):
            sample.add(Measured(number, (number,), 1, 1))
    numbers = [row.number for row in sample.rows]
    assert 5 <= len(numbers) <= 10
    steps = {after - before for before, after in pairwise(numbers)}
    assert len(steps) == 1
    assert numbers[-1] + steps.pop() >= 1000


def test_rows_with_nothing_learned_are_counted_and_not_padded() -> None:
    rows = [Measured(0, (20,), 5, 5), Measured(1, (80,), 5, 0), Measured(2, (40,), 9, 3)]
    found = summed_up(
        "m",
        rows,
        max_length=32,
        micro_batch=2,
        packs=True,
        learns_tokens=True,
        of_rows=3,
        done=True,
        problems=["1 row: is null"],
    )
    assert (found.rows, found.untrained_rows, found.cut_rows) == (3, 1, 2)
    assert (found.tokens, found.trained_tokens, found.cut_tokens) == (140, 19, 56)
    assert (found.mean, found.p50, found.longest) == (46.67, 40, 80)
    assert found.padded_share == pytest.approx(1 - 52 / 64, abs=1e-4)
    assert sum(found.lengths) == 3
    assert found.problems == ("1 row: is null",)
