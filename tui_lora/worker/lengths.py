"""How long rows are in tokens: what max length cuts, and how much of a batch would be padding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import pyarrow as pa
from datasets import Dataset
from trl import pack_dataset

from tui_lora.core.inspect import LengthsMeasured

_BUCKETS = 32
_NICE = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 80, 100)
"""Widths of buckets; ten times these and so on too."""


@dataclass(frozen=True)
class Measured:
    """One row: the length of each of its sequences before the cut, and what is learned of them.

    `kept` tokens are still learned behind the cut at max length.
    """

    number: int
    lengths: tuple[int, ...]
    trained: int
    kept: int


class Sample:
    """Rows spread evenly over those read so far: every one, every second, every fourth ...

    At most `most` of them are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._stride = 1
        self._rows: dict[int, Measured] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> list[Measured]:
        return list(self._rows.values())

    def wants(self, number: int) -> bool:
        return number % self._stride == 0

    def add(self, row: Measured) -> None:
        if not self.wants(row.number):
            return
        self._rows[row.number] = row
        while len(self._rows) > self._most:
            self._stride *= 2
            self._rows = {n: row for n, row in self._rows.items() if self.wants(n)}


def summed_up(
    id: str,
    rows: Sequence[Measured],
    *,
    max_length: int,
    micro_batch: int,
    packs: bool,
    learns_tokens: bool,
    of_rows: int | None,
    done: bool,
    problems: Sequence[str],
    passages: bool = False,
) -> LengthsMeasured:
    """What the rows add up to. `packs`: they could be packed; `learns_tokens`: no classifier."""
    lengths = sorted(chain.from_iterable(row.lengths for row in rows))
    if not lengths:
        lengths = [0]
    edges = bucket_edges(lengths, max_length)
    untrained = [row for row in rows if learns_tokens and not row.kept]
    fed = [row for row in rows if row.kept or not learns_tokens]
    return LengthsMeasured(
        id=id,
        rows=len(rows),
        of_rows=of_rows,
        done=done,
        edges=edges,
        lengths=_counts(lengths, edges) if rows else (0,) * (len(edges) - 1),
        mean=round(sum(lengths) / len(lengths), 2),
        p50=_percentile(lengths, 0.5),
        p95=_percentile(lengths, 0.95),
        longest=lengths[-1],
        tokens=sum(lengths),
        trained_tokens=sum(row.trained for row in rows),
        max_length=max_length,
        cut_rows=sum(max(row.lengths, default=0) > max_length for row in rows),
        cut_tokens=sum(max(0, length - max_length) for length in lengths),
        untrained_rows=len(untrained),
        padded_share=padded_share([row.lengths for row in fed], max_length, micro_batch),
        packed_share=packed_share([row.lengths for row in fed], max_length) if packs else None,
        passages=passages,
        problems=tuple(problems),
    )


def bucket_edges(lengths: Sequence[int], max_length: int) -> tuple[int, ...]:
    """Edges of equal width, of which max length is one where it lies among them.

    `lengths` are sorted. A few that are far longer than the rest share the last bucket.
    """
    longest, far = lengths[-1], 3 * max(_percentile(lengths, 0.95), 1)
    top = min(longest, max(far, max_length if longest > max_length else 0))
    width = next(
        nice * ten
        for ten in (1, 10, 100, 1000, 10_000, 100_000)
        for nice in _NICE
        if nice * ten * _BUCKETS > top
    )
    edges = list(range(0, top + width + 1, width))
    if max_length < edges[-1] and max_length not in edges:
        edges = sorted([*edges, max_length])
    if longest >= edges[-1]:
        edges.append(longest + 1)
    return tuple(edges)


def padded_share(rows: Sequence[Sequence[int]], max_length: int, micro_batch: int) -> float | None:
    """Share of computed positions that is padding, with micro-batches of rows as they come."""
    real = computed = 0
    for begin in range(0, len(rows), micro_batch):
        batch = rows[begin : begin + micro_batch]
        lengths = [min(length, max_length) for row in batch for length in row]
        real += sum(lengths)
        computed += max(lengths, default=0) * len(lengths)
    return round(1 - real / computed, 4) if computed else None


def packed_share(rows: Sequence[Sequence[int]], max_length: int) -> float | None:
    """Share of positions that stays empty when trl packs the rows into sequences of max length."""
    lengths = [min(length, max_length) for row in rows for length in row if length]
    if not lengths:
        return None
    # One byte a token: of documents these are millions.
    tokens = pa.nulls(sum(lengths), pa.int8()).fill_null(0)
    ids = pa.ListArray.from_arrays(pa.array(accumulate(lengths, initial=0), pa.int32()), tokens)
    packs = len(pack_dataset(Dataset(pa.table({"input_ids": ids})), max_length, strategy="bfd"))
    return round(1 - sum(lengths) / (packs * max_length), 4)


def _counts(lengths: Sequence[int], edges: Sequence[int]) -> tuple[int, ...]:
    places = [bisect_left(lengths, edge) for edge in edges]
    return tuple(after - before for before, after in pairwise(places))


def _percentile(lengths: Sequence[int], share: float) -> int:
    return lengths[min(len(lengths) - 1, int(share * len(lengths)))]
