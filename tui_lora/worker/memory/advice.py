"""What would make a run fit a card, or what still fits it: each answer simulated, as it comes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tui_lora.core.advice import Advice, Change, RowLengths, changed
from tui_lora.core.candidates import ROOM, SMALLER, Candidate, Kind
from tui_lora.core.cards import Card
from tui_lora.core.errors import UserError
from tui_lora.core.memory import (
    CONTEXT_GIB,
    TIGHT_SHARE,
    Forecast,
    Verdict,
    headroom_gib,
    verdict,
)
from tui_lora.core.spec import RunSpec
from tui_lora.worker.memory.forecast import Unknown
from tui_lora.worker.memory.largest import SEARCHES, Search, Searching
from tui_lora.worker.memory.recipe_of import config_of
from tui_lora.worker.memory.ways import ways
from tui_lora.worker.model import context_tokens

Simulate = Callable[[RunSpec], Forecast | Unknown]
GoOn = Callable[[], bool]

_SAVES_NOTHING_GIB = 0.01
_RUNGS_TRIED = 4
_BEST_FIRST: tuple[Verdict, ...] = ("fits", "tight", "does_not_fit", "unknown")


def advised(
    spec: RunSpec,
    card: Card,
    simulate: Simulate,
    *,
    others_gib: float = 0.0,
    context_gib: float = CONTEXT_GIB,
    lengths: RowLengths | None = None,
    go_on: GoOn = lambda: True,
    between: Callable[[RunSpec], Forecast | None] = lambda spec: None,
) -> Iterator[Advice | Unknown | None]:
    """All that is known so far, each time that there is more of it; None before each simulation.

    `simulate` should remember what it found, since it is asked for some specs again. The last
    Advice is the whole. `between` knows at once what lies between simulated sizes. Ends without a
    word when `go_on` says no, and with Unknown alone where there is no figure for `spec`. Raises
    UserError for a spec that cannot be run.
    """
    base = simulate(spec)
    if isinstance(base, Unknown):
        yield base
        return
    found = _Advising(spec, base, card, others_gib, lengths, simulate, between)
    told: Advice | None = None
    for _ in found.steps():
        if not go_on():
            return
        yield found.so_far if found.so_far is not told else None
        told = found.so_far
    for way in ways(spec, card, found.simulated, context_gib, go_on):
        fits = found.verdict_of(way.forecast)
        found.add(ways=(*found.so_far.ways, way.model_copy(update={"verdict": fits})))
        if not go_on():
            return
        yield found.so_far


@dataclass(frozen=True)
class _Tried:
    candidate: Candidate
    forecast: Forecast
    verdict: Verdict


class _Advising:
    """Puts an Advice together; its steps are generators that yield before each simulation."""

    def __init__(
        self,
        spec: RunSpec,
        base: Forecast,
        card: Card,
        others_gib: float,
        lengths: RowLengths | None,
        simulate: Simulate,
        between: Callable[[RunSpec], Forecast | None],
    ) -> None:
        self._spec, self._base, self._card = spec, base, card
        self._others_gib, self._lengths, self._simulate = others_gib, lengths, simulate
        self._between = between
        self._orders: dict[str, int] = {}
        self._context = context_tokens(config_of(spec.model))
        self.so_far = Advice(forecast=base, verdict=self.verdict_of(base))

    def steps(self) -> Iterator[None]:
        if self.so_far.verdict == "fits":
            yield from self._spend()
        else:
            yield from self._mend()
        for search in SEARCHES:
            yield from self._largest(search)

    def verdict_of(self, found: Forecast | None) -> Verdict:
        if found is None:
            return "unknown"
        left = headroom_gib(found, self._card.total_gib, self._others_gib)
        return verdict(left, self._card.total_gib)

    def add(self, **found: Any) -> None:
        self.so_far = self.so_far.model_copy(update=found)

    def simulated(self, spec: RunSpec) -> Forecast | None:
        """What it takes; None where that cannot be told or the run would be refused."""
        try:
            found = self._simulate(spec)
        except UserError:
            return None
        return None if isinstance(found, Unknown) else found

    def _try(self, candidate: Candidate) -> Generator[None, None, _Tried | None]:
        yield
        found = self.simulated(candidate.spec)
        if found is None:
            return None
        return _Tried(candidate, found, self.verdict_of(found))

    def _mend(self) -> Iterator[None]:
        """Each kind of change by itself, and where none is enough, several together."""
        for order, kind in enumerate(SMALLER):
            tried = yield from self._enough(kind, self._spec, else_mildest=True)
            if tried is not None and self._saves(tried.forecast) >= _SAVES_NOTHING_GIB:
                self._offer(order, tried)
        if not any(change.verdict == "fits" for change in self.so_far.changes):
            yield from self._mend_together()

    def _enough(
        self, kind: Kind, spec: RunSpec, *, else_mildest: bool
    ) -> Generator[None, None, _Tried | None]:
        """The mildest change of a kind with which it fits; else the mildest or the strongest."""
        rungs = kind.rungs(spec, self._lengths)
        if not rungs:
            return None
        mildest = yield from self._try(rungs[0])
        if mildest is None or mildest.verdict == "fits" or len(rungs) == 1:
            return mildest
        strongest = yield from self._try(rungs[-1])
        if strongest is None or strongest.verdict != "fits":
            return mildest if else_mildest or strongest is None else strongest
        for rung in rungs[1:-1]:
            tried = yield from self._try(rung)
            if tried is not None and tried.verdict == "fits":
                return tried
        return strongest

    def _mend_together(self) -> Iterator[None]:
        """The cheapest first, until it fits; then without those that it does not take."""
        taken: list[_Tried] = []
        spec, now = self._spec, self._base
        for kind in SMALLER:
            tried = yield from self._enough(kind, spec, else_mildest=False)
            if (
                tried is None
                or now.peak_process_gib - tried.forecast.peak_process_gib < _SAVES_NOTHING_GIB
            ):
                continue
            taken.append(tried)
            spec, now = tried.candidate.spec, tried.forecast
            if tried.verdict == "fits":
                break
        reached = self.verdict_of(now)
        if reached == "does_not_fit":
            self.add(nothing=self._nothing(spec, now, taken))
            return
        alone = [_BEST_FIRST.index(change.verdict) for change in self.so_far.changes]
        if _BEST_FIRST.index(reached) >= min(alone, default=len(_BEST_FIRST)):
            return
        for step in reversed(taken[:-1]):
            fewer = [other for other in taken if other is not step]
            without = changed(self._spec, _all_changes(fewer))
            if without is None:
                continue
            yield
            found = self.simulated(without)
            if found is not None and self.verdict_of(found) == reached:
                taken, now = fewer, found
        self._offer(len(SMALLER), _together(taken, now, reached), taken)

    def _nothing(self, spec: RunSpec, found: Forecast, taken: Sequence[_Tried]) -> str:
        room = self._card.total_gib - self._others_gib
        held = f", of which others hold {self._others_gib:.1f}" if self._others_gib else ""
        has = f"this card has {self._card.total_gib:g} GiB{held}"
        scheme = spec.quantization.scheme
        weights = found.parts.weights
        if weights + found.parts.context > room:
            stored = "unquantized" if scheme == "none" else f"in {scheme}"
            return (
                f"Nothing makes it fit: the weights alone take {weights:.1f} GiB {stored}, and "
                f"{has}."
            )
        steps = ", ".join(step.candidate.title for step in taken) or "nothing left to change"
        return (
            f"Nothing makes it fit: with {steps} it would still take "
            f"{found.peak_process_gib:.1f} GiB, of which {weights:.1f} for the weights, and {has}."
        )

    def _spend(self) -> Iterator[None]:
        """The most of each kind that still leaves enough headroom."""
        for order, kind in enumerate(ROOM):
            best: _Tried | None = None
            for rung in kind.rungs(self._spec, self._lengths)[:_RUNGS_TRIED]:
                tried = yield from self._try(rung)
                if tried is not None and tried.verdict != "fits":
                    break
                best = tried or best
            # A base that is stored in 4 bits already stays so, whatever is asked for.
            if best is not None and best.forecast != self._base:
                self._offer(order, best)

    def _largest(self, search: Search) -> Iterator[None]:
        if search.setting == "lora.r" and self._spec.lora.start_from is not None:
            return
        wanted = Searching(search, self._spec, self._base, self._context)
        while wanted.next(self._budget_gib):
            spec = wanted.spec
            early = None if spec is None or wanted.surely else self._at_once(spec)
            if early is not None:
                wanted.told(early, early=True)
                continue
            yield
            wanted.told(None if spec is None else self.simulated(spec))
        answer = wanted.answer(self._card.total_gib, self._others_gib)
        self.add(largest=(*self.so_far.largest, answer))

    def _at_once(self, spec: RunSpec) -> Forecast | None:
        try:
            return self._between(spec)
        except UserError:
            # Which its simulation meets too.
            return None

    @property
    def _budget_gib(self) -> float:
        """What a process may take and still fit."""
        return (1 - TIGHT_SHARE) * self._card.total_gib - self._others_gib

    def _saves(self, found: Forecast) -> float:
        return self._base.peak_process_gib - found.peak_process_gib

    def _offer(self, order: int, tried: _Tried, steps: Sequence[_Tried] = ()) -> None:
        one = tried.candidate
        change = Change(
            title=one.title,
            changes=one.changes,
            cost=one.cost,
            saves_gib=self._saves(tried.forecast),
            peak_process_gib=tried.forecast.peak_process_gib,
            verdict=tried.verdict,
            steps=tuple(step.candidate.title for step in steps),
            cut_rows=one.cut_rows,
            measured_rows=one.measured_rows,
        )
        self._orders[one.title] = order
        self.add(changes=tuple(sorted((*self.so_far.changes, change), key=self._rank)))

    def _rank(self, change: Change) -> tuple[int, int, float]:
        return _BEST_FIRST.index(change.verdict), self._orders[change.title], -change.saves_gib


def _together(taken: Sequence[_Tried], found: Forecast, verdict: Verdict) -> _Tried:
    """Several changes as one."""
    each = [step.candidate for step in taken]
    cutting = next((one for one in reversed(each) if one.cut_rows is not None), None)
    whole = Candidate(
        title=" + ".join(one.title for one in each),
        changes=_all_changes(taken),
        cost=" ".join(f"{one.title}: {one.cost}" for one in each),
        spec=each[-1].spec,
        cut_rows=cutting.cut_rows if cutting else None,
        measured_rows=cutting.measured_rows if cutting else None,
    )
    return _Tried(whole, found, verdict)


def _all_changes(taken: Sequence[_Tried]) -> dict[str, Any]:
    return {path: value for step in taken for path, value in step.candidate.changes.items()}
