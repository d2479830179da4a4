"""The storages of a deep model from those of a shallow one, whose middle layers do all the same."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tui_lora.worker.memory.allocator import EMPTIED, Event
from tui_lora.worker.memory.step import Seen
from tui_lora.worker.memory.storages import Segment

_AROUND = 2
"""Periods of layers kept as they are at either end; the one between is repeated."""

Place = tuple[Segment, int]
"""Where a storage was allocated: the segment, and the how-manieth in it."""


class Irregular(Exception):
    """The middle layers do not do the same."""


@dataclass(frozen=True)
class Trace:
    """Every allocation of a run, with what it is for and the phase that it falls into. `room`:
    bytes that are taken and given back before the weights come."""

    events: list[Event]
    kinds: list[str]
    phases: list[str]
    room: int = 0


def shallow_layers(depth: int, period: int) -> tuple[int, int]:
    """How many layers to run for a model of `depth`, whose kinds of layers repeat after `period`.

    `depth` itself where no fewer will do.
    """
    shallow = (2 * _AROUND + 1) * period + depth % period
    return min(shallow, depth), period


def plain(seen: Seen) -> Trace:
    """What was seen, as it is."""
    phases: list[str] = []
    for (begin, segment), end in zip(seen.marks, _ends(seen), strict=True):
        phases += [_phase(segment)] * (end - begin)
    kinds = [seen.kinds.get(abs(number), "") for number, _ in seen.events]
    return Trace(seen.events, kinds, phases, sum(seen.room.values()))


def deepened(seen: Seen, depth: int, period: int = 1) -> Trace:
    """`seen` as it would be with `depth` layers. Raises Irregular."""
    shallow, _ = shallow_layers(depth, period)
    segments, made = _taken_apart(seen)
    middle = _Middle(shallow, depth, period)
    _check(segments, middle)
    events: list[Event] = []
    kinds: list[str] = []
    phases: list[str] = []
    numbers: dict[Place, int] = {}
    for segment in middle.order([segment for _, segment in seen.marks]):
        like = middle.like(segment)
        position = 0
        for number, size in segments[like]:
            begin = len(events)
            if number > 0:
                new = numbers[segment, position] = len(kinds) + 1
                position += 1
                events.append((new, size))
            elif (number, size) == EMPTIED:
                events.append(EMPTIED)
            else:
                places = middle.moved(made[-number], like, segment)
                if any(place not in numbers for place in places):
                    raise Irregular(f"{places} are not there")
                events += [(-numbers.pop(place), 0) for place in places]
            kinds += [seen.kinds.get(abs(number), "")] * (len(events) - begin)
            phases += [_phase(segment)] * (len(events) - begin)
    layers = [middle.like((0, "weights", layer))[2] for layer in range(depth)]
    room = seen.room[None] + sum(seen.room[layer] for layer in layers)
    return Trace(events, kinds, phases, room)


@dataclass(frozen=True)
class _Middle:
    """Which layers of a shallow model the layers of a deep one are like."""

    shallow: int
    depth: int
    period: int

    @property
    def first(self) -> int:
        return _AROUND * self.period

    @property
    def behind(self) -> int:
        """The first layer of the shallow model behind those that are repeated."""
        return self.first + self.period

    def like(self, segment: Segment) -> Segment:
        step, what, layer = segment
        return segment if layer is None else (step, what, self._like(layer))

    def _like(self, layer: int) -> int:
        shifted = layer - self.depth + self.shallow
        if layer < self.first:
            return layer
        if shifted >= self.behind:
            return shifted
        return self.first + (layer - self.first) % self.period

    def at_the_end(self, layer: int) -> int:
        """A layer of the shallow model, at either end, in the deep one."""
        return layer if layer < self.behind else layer - self.shallow + self.depth

    def moved(self, place: Place, like: Segment, segment: Segment) -> list[Place]:
        """Where the deep run has what the shallow one made at `place`, seen from `segment`."""
        (step, what, layer), position = place
        if layer is None:
            return [place]
        if like[2] is None or segment[2] is None or abs(layer - like[2]) > self.period:
            # From outside or afar: in each of the layers that it stands for.
            deep = [self.at_the_end(layer)]
            if self.first <= layer < self.behind:
                deep = list(range(layer, self.depth - self.shallow + self.behind, self.period))
        else:
            deep = [segment[2] + layer - like[2]]
        return [((step, what, k), position) for k in deep]

    def order(self, order: list[Segment]) -> list[Segment]:
        """The segments as they come in the deep run."""
        deep: list[Segment] = []
        for step, what, layer in order:
            repeated = layer is not None and self.first <= layer < self.behind
            if layer is None or not repeated:
                deep.append((step, what, layer if layer is None else self.at_the_end(layer)))
                continue
            # A whole period is repeated, at the place of the one that comes first.
            back = what == "backward"
            if layer == (self.behind - 1 if back else self.first):
                again = range(self.first, self.depth - self.shallow + self.behind)
                deep += [(step, what, k) for k in (reversed(again) if back else again)]
        return deep


def _taken_apart(seen: Seen) -> tuple[dict[Segment, list[Event]], dict[int, Place]]:
    segments: dict[Segment, list[Event]] = defaultdict(list)
    made: dict[int, Place] = {}
    counts: dict[Segment, int] = defaultdict(int)
    for (begin, segment), end in zip(seen.marks, _ends(seen), strict=True):
        for number, size in seen.events[begin:end]:
            segments[segment].append((number, size))
            if number > 0:
                made[number] = (segment, counts[segment])
                counts[segment] += 1
    return segments, made


def _check(segments: dict[Segment, list[Event]], middle: _Middle) -> None:
    """The periods around the middle one do as it does."""
    for (step, what, layer), events in list(segments.items()):
        if step < 2 or layer is None or not middle.first <= layer < middle.behind:
            continue
        sizes = [size for _, size in events]
        for other in (layer - middle.period, layer + middle.period):
            if [size for _, size in segments[step, what, other]] != sizes:
                raise Irregular(f"{what}: layers {layer} and {other} differ")


def _ends(seen: Seen) -> list[int]:
    return [index for index, _ in seen.marks[1:]] + [len(seen.events)]


def _phase(segment: Segment) -> str:
    step, what, _ = segment
    if step == 2 or what.startswith("evaluation"):
        return what
    return "first step" if step else "loading"
