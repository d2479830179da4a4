"""A curve that grows for days and stays small: buckets of steps that keep their extremes."""

from __future__ import annotations

from dataclasses import dataclass, replace

CAPACITY = 2048


@dataclass(frozen=True, slots=True)
class Bucket:
    """Values of the steps from `first` to `last`: a spike survives in `low` and `high`."""

    first: int
    last: int
    low: float
    high: float
    total: float
    values: int

    @property
    def mean(self) -> float:
        return self.total / self.values


class Series:
    """(step, value) pairs in the order of steps, at most `CAPACITY` buckets of them.

    One thread appends; others may read `buckets`, a tuple made anew on demand. A value that is
    not finite is counted in `not_finite` and drawn by nobody.
    """

    def __init__(self) -> None:
        self._buckets: list[Bucket] = []
        self._stride = 1
        self.latest: float | None = None
        self.latest_step: int | None = None
        self.best: float | None = None
        self.best_step: int | None = None
        self.not_finite = 0

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return tuple(self._buckets)

    def add(self, step: int, value: float) -> None:
        """Append a value; a step at or before the last one replaces what stood from there on."""
        if self.latest_step is not None and step <= self.latest_step:
            self.rewind(step - 1)
        self.latest, self.latest_step = value, step
        if value != value or value in (float("inf"), float("-inf")):
            self.not_finite += 1
            return
        if self.best is None or value < self.best:
            self.best, self.best_step = value, step
        last = self._buckets[-1] if self._buckets else None
        if last is not None and self._stride > 1 and step - last.first < self._stride:
            self._buckets[-1] = _joined(last, Bucket(step, step, value, value, value, 1))
            return
        self._buckets.append(Bucket(step, step, value, value, value, 1))
        if len(self._buckets) > CAPACITY:
            self._halve()

    def rewind(self, step: int) -> None:
        """Forget everything after `step`: a run that resumes from there writes it again."""
        kept = [bucket for bucket in self._buckets if bucket.first <= step]
        if kept and kept[-1].last > step:
            # A joined bucket cannot be taken apart; its share up to `step` keeps its extremes.
            kept[-1] = replace(kept[-1], last=step)
        self._buckets = kept
        self.latest = kept[-1].mean if kept else None
        self.latest_step = kept[-1].last if kept else None
        if self.best_step is not None and self.best_step > step:
            best = min(kept, key=lambda bucket: bucket.low, default=None)
            self.best = best.low if best else None
            self.best_step = best.last if best else None

    def _halve(self) -> None:
        pairs = self._buckets
        halved = [_joined(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=False)]
        if len(pairs) % 2:
            halved.append(pairs[-1])
        self._buckets = halved
        spans = [bucket.last - bucket.first + 1 for bucket in halved[:-1]]
        self._stride = max(spans, default=1)

    def copy(self) -> Series:
        """A curve of its own, which stays as it is while this one grows."""
        other = Series()
        other.__dict__.update(self.__dict__)
        other._buckets = list(self._buckets)
        return other

    def points(self, columns: int, until: float | None = None) -> tuple[list[float], list[float]]:
        """Steps and values to draw, at most two points a column.

        A column gives its mean, or both extremes when they stand far apart. The columns share the
        steps up to the last one, or up to `until`: then old points stay where they are.
        """
        buckets = self.buckets
        if not buckets:
            return [], []
        first, last = buckets[0].first, buckets[-1].last
        end = last if until is None else max(until, last)
        width = max(1.0, (end - first + 1) / max(1, columns))
        steps: list[float] = []
        values: list[float] = []
        column: Bucket | None = None
        edge = first + width
        for bucket in buckets:
            if column is None or bucket.first >= edge:
                if column is not None:
                    _draw(column, steps, values)
                column = bucket
                while bucket.first >= edge:
                    edge += width
            else:
                column = _joined(column, bucket)
        if column is not None:
            _draw(column, steps, values)
        return steps, values

    def tail(self, columns: int) -> list[float]:
        """Means of the last `columns` buckets, for a line of glyphs."""
        return [bucket.mean for bucket in self._buckets[-columns:]]


def _joined(a: Bucket, b: Bucket) -> Bucket:
    return Bucket(
        a.first,
        max(a.last, b.last),
        min(a.low, b.low),
        max(a.high, b.high),
        a.total + b.total,
        a.values + b.values,
    )


def _draw(bucket: Bucket, steps: list[float], values: list[float]) -> None:
    middle = (bucket.first + bucket.last) / 2
    if bucket.values > 2 and bucket.high - bucket.low > 0.25 * abs(bucket.mean):
        steps.extend((middle, middle))
        values.extend((bucket.low, bucket.high))
    else:
        steps.append(middle)
        values.append(bucket.mean)
