"""The reporter: never more often than useful, and nothing lost that a curve is made of."""

from pathlib import Path

from tui_lora.core.events import EVENTS, StepDone
from tui_lora.store.journal import Tail
from tui_lora.worker.reporter import Reporter


def step(number: int, loss: float | None = None) -> StepDone:
    return StepDone(step=number, epoch=0.1, loss=loss)


def test_a_held_back_loss_is_not_dropped_for_a_step_without(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path / "events.jsonl")
    reporter.step(step(1, 3.0), always=True)
    for number in range(2, 10):
        reporter.step(step(number, 2.0 if number in (4, 8) else None))
    reporter.notice("over")
    events = [EVENTS.decode(line).message for line in Tail(tmp_path / "events.jsonl").read()]
    steps = [(event.step, event.loss) for event in events if isinstance(event, StepDone)]
    assert steps == [(1, 3.0), (8, 2.0)]
