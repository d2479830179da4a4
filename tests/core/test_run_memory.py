"""What a run holds of its card: told apart from the others, and held against its forecast."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.recorded import opening, ran_out, step_done
from tui_lora.core.events import (
    AttemptFinished,
    Evaluated,
    Event,
    MemoryForecasted,
    MemoryMeasured,
    RunPlanned,
    StepDone,
)
from tui_lora.core.memory import Forecast, Parts
from tui_lora.core.run_memory import Holder, RunMemory, run_memory
from tui_lora.core.sensors import CardProcess, CardReading
from tui_lora.core.view import RunView

PID = 4242  # of the recorded worker, which reserves 10.6 GiB and has reserved 11.0


def forecast(process_gib: float, context_gib: float = 0.3) -> MemoryForecasted:
    reserved = process_gib - context_gib
    parts = Parts(
        weights=reserved, adapter=0, gradients=0, optimizer=0, activations=0, workspace=0, loss=0,
        context=context_gib,
    )  # fmt: skip
    found = Forecast(
        method="simulated", parts=parts, peak_allocated_gib=reserved, peak_reserved_gib=reserved
    )
    return MemoryForecasted(card="RTX 4080", total_gib=16.0, forecast=found)


def view_of(*events: Event | Iterable[Event], steps: int = 30) -> RunView:
    view = RunView()
    for event in opening(400):
        # A card's run; the recorded opening is of the processor.
        on_card = {"device": "cuda:0"} if isinstance(event, RunPlanned) else {}
        view.apply(event.model_copy(update=on_card))
    for event in events:
        for one in [event] if isinstance(event, Event) else event:
            view.apply(one)
    if steps:
        view.apply(step_done(steps, 400, card=True))
    return view


def card(*processes: tuple[int, str | None, float | None], used: float = 11.5) -> CardReading:
    found = tuple(CardProcess(*process) for process in processes)
    return CardReading(0, "GPU-1", "RTX 4080", 16.0, used, 16.0 - used, *[None] * 4, found, None)  # type: ignore[arg-type]


def memory(view: RunView, shown: CardReading | None) -> RunMemory:
    found = run_memory(view, shown)
    assert found is not None
    return found


def test_a_run_on_the_processor_has_none() -> None:
    view = view_of(steps=0)
    view.apply(step_done(3, 400))
    assert run_memory(view, card()) is None
    assert run_memory(view_of(steps=0), card()) is None


def test_by_its_pid_the_context_is_known_and_the_rest_are_others() -> None:
    processes = ((PID, "python", 10.9), (77, "Xorg", 0.2), (78, "firefox", 0.3))
    found = memory(view_of(forecast(11.4)), card(*processes))
    assert found.process == pytest.approx(10.9)
    assert found.peak == pytest.approx(11.3)
    assert found.others == pytest.approx(0.6)  # 0.1 of it by nobody whom the driver names
    assert found.holders == (Holder("firefox", 0.3), Holder("Xorg", 0.2))
    assert found.headroom == pytest.approx(16 - 0.6 - 11.4)  # until the peak has shown itself
    assert found.growth == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("processes", "ours"),
    [
        ([(1, None, 10.95), (2, None, 0.4)], 10.95),
        # A number without a name may be anybody's, also where it is the worker's own.
        ([(PID, None, 0.4), (2, None, 10.95)], 10.95),
        # Two could be it, or none: then it is not told which.
        ([(1, None, 10.8), (2, None, 11.2)], None),
        ([(1, None, 3.0)], None),
        ([(1, None, None)], None),
        ([(1, "other", 10.95)], None),
        ([], None),
    ],
)
def test_in_a_container_it_is_recognised_by_its_memory_alone(
    processes: list[tuple[int, str | None, float | None]], ours: float | None
) -> None:
    found = memory(view_of(forecast(11.4)), card(*processes))
    assert found.process == pytest.approx(ours if ours is not None else 10.6 + 0.3)
    sized = [gib for _, _, gib in processes if gib is not None]
    assert sorted(h.gib for h in found.holders) == sorted(gib for gib in sized if gib != ours)


def test_without_forecast_or_driver_what_is_not_known_stays_unknown() -> None:
    found = memory(view_of(), None)
    assert (found.allocated, found.reserved) == (9.81, 10.6)
    unknown = (
        found.process,
        found.peak,
        found.predicted,
        found.error,
        found.others,
        found.headroom,
    )
    assert set(unknown) == {None}
    assert found.growth == 0.0


def test_it_is_held_against_the_forecast_once_an_evaluation_is_past() -> None:
    before = memory(view_of(forecast(10.9)), None)
    assert (before.settled, before.error) == (False, None)
    after = view_of(forecast(10.9), Evaluated(step=20, loss=1, rows=4, seconds=1))
    settled = memory(after, None)
    assert settled.error == pytest.approx(10.9 / 11.3 - 1)
    assert settled.expected == pytest.approx(11.3)
    # Resumed: what an earlier attempt has shown says nothing of this one.
    for event in opening(400, attempt=2, resumed_from=20):
        after.apply(event)
    after.apply(step_done(21, 400, card=True))
    assert memory(after, None).error is None


def test_what_an_earlier_attempt_took_is_no_peak_of_this_one() -> None:
    view = view_of(forecast(14.0), steps=40)
    for event in opening(400, attempt=2, resumed_from=20):
        view.apply(event)
    # Not told yet: the earlier one's would be another run's.
    assert (view.forecast, view.peak_reserved_gib) == (None, None)
    view.apply(forecast(8.3))
    view.apply(smaller(21))
    found = memory(view, None)
    assert (found.peak, found.predicted) == pytest.approx((7.9 + 0.3, 8.3))
    # It goes on in the middle of its rows: the longest may still come.
    assert found.expected == pytest.approx(8.3)
    assert found.headroom == pytest.approx(16 - (8.5 - 8.1) - 8.3)
    assert view.highest_reserved_gib == 11.0


def smaller(step: int) -> StepDone:
    """A step that reserves 7.8 GiB, and 7.9 at its peak."""
    memory = {"reserved_gib": 7.8, "peak_reserved_gib": 7.9, "card_used_gib": 8.5}
    return step_done(step, 400, card=True).model_copy(update=memory)


@pytest.mark.parametrize(("steps", "settled"), [(25, False), (133, False), (134, True)])
def test_a_resumed_attempt_has_shown_its_peak_when_all_rows_have_come(
    steps: int, settled: bool
) -> None:
    view = RunView()
    for event in opening(400, attempt=2, resumed_from=20):
        view.apply(event)
    view.apply(forecast(8.3))
    view.apply(Evaluated(step=40, loss=1, rows=4, seconds=1))
    view.apply(smaller(20 + steps))  # of three epochs
    assert memory(view, None).settled is settled
    view.apply(AttemptFinished(attempt=2, verdict="done"))
    assert memory(view, None).settled is settled


def test_where_memory_ran_out_there_was_no_peak_to_be_seen() -> None:
    view = view_of(forecast(15.0))
    for event in ran_out(31):
        view.apply(event)
    assert memory(view, None).error is None


@pytest.mark.parametrize(("steps", "settled"), [(5, False), (25, True)])
def test_without_held_out_rows_a_few_steps_are_enough(steps: int, settled: bool) -> None:
    view = view_of(forecast(10.9), steps=steps)
    assert view.plan is not None
    view.plan = view.plan.model_copy(update={"eval_rows": 0})
    assert memory(view, None).settled is settled


def test_of_a_run_that_is_over_what_was_measured_counts() -> None:
    measured = MemoryMeasured(
        card="RTX 4080", total_gib=16.0, peak_reserved_gib=11.0, context_gib=0.45
    )
    view = view_of(forecast(10.9))
    view.apply(measured)
    view.apply(AttemptFinished(attempt=1, verdict="done"))
    found = memory(view, None)
    assert found.peak == pytest.approx(11.45)
    assert found.others == pytest.approx(11.6 - 11.05)
    assert found.settled
