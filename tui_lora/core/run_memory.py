"""What a run holds of its card and what it will need, from its events and the card's sensors."""

from __future__ import annotations

from dataclasses import dataclass

from tui_lora.core.events import RunPlanned
from tui_lora.core.measured_runs import difference
from tui_lora.core.sensors import CardProcess, CardReading
from tui_lora.core.view import RunView

_SETTLED_STEPS = 20
_MOST_CONTEXT_GIB = 1.5
"""More than CUDA takes for a process beside what torch reserved."""


@dataclass(frozen=True)
class Holder:
    """Another process on the card; its name is empty where it cannot be told."""

    name: str
    gib: float


@dataclass(frozen=True)
class RunMemory:
    """GiB; None where it is not known. `process` and `peak` hold CUDA's own share beside what
    torch reserved; `predicted` is the forecast of `peak`.

    `settled`: the attempt has shown its peak, so that it can be held against the forecast, and
    `error` is by what share the forecast was too high. `others` is all that is held beside the
    process, `holders` the largest first, as far as the driver names them.
    """

    allocated: float | None
    reserved: float
    process: float | None
    peak: float | None
    predicted: float | None
    settled: bool
    total: float | None
    others: float | None
    holders: tuple[Holder, ...] = ()

    @property
    def error(self) -> float | None:
        return difference(self.predicted, self.peak) if self.settled else None

    @property
    def expected(self) -> float | None:
        """The highest that the process was or, until that has shown, will be."""
        known = [self.peak] if self.settled else [self.peak, self.predicted]
        return max((gib for gib in known if gib is not None), default=None)

    @property
    def headroom(self) -> float | None:
        if self.total is None or self.others is None or self.expected is None:
            return None
        return self.total - self.others - self.expected

    @property
    def growth(self) -> float:
        """How much more the process will hold at its peak than now."""
        if self.process is None or self.expected is None:
            return 0.0
        return max(0.0, self.expected - self.process)


def run_memory(view: RunView, card: CardReading | None) -> RunMemory | None:
    """None of a run that reports no card's memory. `card` is the run's as it is now; None where
    there is none to ask, or the run is over: then what the worker saw last counts."""
    last = view.last_step
    if last is None or last.reserved_gib is None:
        return None
    forecast = view.forecast.forecast if view.forecast is not None else None
    ours, others = _told_apart(view, card, last.reserved_gib)
    context = forecast.parts.context if forecast is not None else None
    if context is None and card is not None:
        context = card.context_gib
    if view.measured is not None and view.measured.context_gib is not None:
        context = view.measured.context_gib
    if ours is not None and ours.used_gib is not None:
        context = max(0.0, ours.used_gib - last.reserved_gib)
    process = None if context is None else last.reserved_gib + context
    peak_reserved = max(view.peak_reserved_gib or 0.0, last.reserved_gib)
    total, used = _of_card(view, card)
    return RunMemory(
        allocated=last.allocated_gib,
        reserved=last.reserved_gib,
        process=process,
        peak=None if context is None else peak_reserved + context,
        predicted=None if forecast is None else forecast.peak_process_gib,
        settled=_has_shown_its_peak(view),
        total=total,
        others=None if used is None or process is None else max(0.0, used - process),
        holders=others,
    )


def _of_card(view: RunView, card: CardReading | None) -> tuple[float | None, float | None]:
    """Total and used in GiB."""
    if card is not None and card.total_gib is not None:
        return card.total_gib, card.used_gib
    total = view.forecast.total_gib if view.forecast is not None else None
    if total is None and view.measured is not None:
        total = view.measured.total_gib
    return total, view.last_step.card_used_gib if view.last_step is not None else None


def comparable(plan: RunPlanned | None, steps: int, *, resumed: bool, ran_out: bool) -> bool:
    """Whether what an attempt took in so many steps can be held against its forecast.

    A run begins with its longest rows; what is resumed goes on in the middle of them, and has to
    see them all. Where memory ran out the peak was never reached.
    """
    if ran_out or steps < 1:
        return False
    if not resumed:
        return True
    return plan is not None and plan.epochs > 0 and steps >= plan.total_steps / plan.epochs


def _has_shown_its_peak(view: RunView) -> bool:
    """Whether it has been through its longest rows, its optimizer and, if it has any, an
    evaluation."""
    done = view.step - (view.resumed_from or 0)
    resumed, ran_out = view.resumed_from is not None, view.ran_out is not None
    if not comparable(view.plan, done, resumed=resumed, ran_out=ran_out):
        return False
    if view.verdict is not None:
        return True
    if view.plan is not None and not view.plan.eval_rows:
        return done >= _SETTLED_STEPS
    evaluated = view.tuned_eval
    return evaluated is not None and (evaluated.step or 0) > (view.resumed_from or 0)


def _told_apart(
    view: RunView, card: CardReading | None, reserved_gib: float
) -> tuple[CardProcess | None, tuple[Holder, ...]]:
    """The worker's own process, where one is certain to be it, and the others."""
    processes = card.processes if card is not None else None
    if not processes:
        return None, ()
    # A name says that the number is one of this machine's; without it, it may be anybody's.
    ours = next((p for p in processes if p.name is not None and p.pid == view.pid), None)
    if ours is None:
        most = reserved_gib + _MOST_CONTEXT_GIB
        alike = [
            p
            for p in processes
            if p.name is None and p.used_gib is not None and reserved_gib <= p.used_gib <= most
        ]
        ours = alike[0] if len(alike) == 1 else None
    others = [Holder(p.name or "", p.used_gib) for p in processes if p is not ours and p.used_gib]
    return ours, tuple(sorted(others, key=lambda holder: -holder.gib))
