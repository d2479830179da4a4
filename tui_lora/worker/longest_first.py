"""The order of a run's rows: a seeded shuffle that begins with its longest micro-batch.

What a step takes in memory goes by its longest row. So a run whose rows do not fit shows it in its
first minute, and not when the shuffle comes to that row. What the optimizer keeps comes behind that
step (`worker/beginning_words.py` says how much it is).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch.utils.data import Sampler

Lengths = NDArray[np.int64]


def shuffled(lengths: Lengths, *, first: int, seed: int, epoch: int) -> list[int]:
    """The numbers of all rows, each once, in the order of an epoch (from 0).

    The first epoch begins with the `first` longest rows, the longest before all; of equals the one
    that stands before. `first` is the micro-batch that run.yaml asks for: under `on_oom: retry` it
    is halved, and the order has to stay. The rest is the shuffle of accelerate's
    SeedableRandomSampler: torch's permutation by seed + epoch.
    """
    generator = torch.Generator().manual_seed(seed + epoch)
    drawn = torch.randperm(len(lengths), generator=generator).numpy()
    if epoch:
        return [int(row) for row in drawn]
    head = longest(lengths, first)
    rest = drawn[~np.isin(drawn, head)]
    return [int(row) for row in (*head, *rest)]


def as_they_stand(lengths: Lengths, *, first: int, epoch: int) -> list[int]:
    """The same for rows that have to stay with those beside them, `first` at a time (KTO sets each
    prompt beside the answer of its neighbour): they come as they stand, after the whole batch that
    holds the longest row."""
    rows = list(range(len(lengths)))
    whole = len(rows) // first * first
    if epoch or not whole:
        return rows
    at = int(lengths[:whole].argmax()) // first * first
    return [*rows[at : at + first], *rows[:at], *rows[at + first :]]


def longest(lengths: Lengths, first: int) -> NDArray[np.intp]:
    """The numbers of the `first` longest rows, the longest before all."""
    return np.argsort(-lengths, kind="stable")[:first]


class LongestFirst(Sampler[int]):
    """`shuffled` or `as_they_stand` for a data loader, which tells it the epoch."""

    def __init__(self, lengths: Lengths, *, first: int, seed: int, in_place: bool = False) -> None:
        self._lengths, self._first, self._seed = lengths, first, seed
        self._in_place = in_place
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        if self._in_place:
            return iter(as_they_stand(self._lengths, first=self._first, epoch=self.epoch))
        return iter(shuffled(self._lengths, first=self._first, seed=self._seed, epoch=self.epoch))


def fed_lengths(rows: Dataset, *, max_length: int | None, together: int) -> Lengths:
    """How many tokens each prepared row is fed with: of a pair its longer side.

    Counted from where Arrow's lists begin, so no token is read. `together`: how many rows of KTO
    share their answers.
    """

    def counted(name: str) -> Lengths:
        column = rows.select_columns([name]).with_format("arrow")[:][name]
        found: Any = pc.list_value_length(column).to_numpy()
        return np.asarray(found, dtype=np.int64)

    columns = rows.column_names
    if "input_ids" in columns:
        return counted("input_ids")
    prompts = counted("prompt_ids")
    if "chosen_ids" in columns:
        answers = np.maximum(counted("chosen_ids"), counted("rejected_ids"))
    else:
        own = counted("completion_ids")
        answers = np.maximum(own, own[_neighbours(len(own), together)])
    whole = prompts + answers
    return whole if max_length is None else np.minimum(whole, max_length)


def _neighbours(rows: int, together: int) -> NDArray[np.intp]:
    """Whose answer trl sets beside each prompt for KTO's KL term: that of the row before it, and
    the last one's of their batch beside the first."""
    numbers = np.arange(rows)
    last = np.minimum(numbers + together - 1, rows - 1)
    return np.where(numbers % together, numbers - 1, last)
