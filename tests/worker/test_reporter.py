"""The reporter: never more often than useful, and nothing lost that a curve is made of."""

from pathlib import Path

import pytest

from tui_lora.core.events import EVENTS, Notice, OrderAnswered, StepDone
from tui_lora.store.journal import Appender, Tail
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


def test_what_a_full_disk_kept_out_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps may be lost, and are counted; no warning and no answer is."""
    full = False
    really = Appender.append

    def append(log: Appender, line: str, *, durable: bool = False) -> bool:
        return not full and really(log, line, durable=durable)

    monkeypatch.setattr(Appender, "append", append)
    reporter = Reporter(tmp_path / "events.jsonl")
    reporter.notice("before")
    full = True
    for number in range(1, 4):
        reporter.step(step(number, 1.0), always=True)
    reporter.notice("no checkpoint", "warning")
    reporter.say(OrderAnswered(id="a", ok=False, message="no room"))
    full = False
    reporter.step(step(4, 1.0), always=True)
    events = [EVENTS.decode(line).message for line in Tail(tmp_path / "events.jsonl").read()]
    told = [event.text for event in events if isinstance(event, Notice)]
    assert told == ["before", "no checkpoint", "3 events could not be written: the disk was full"]
    assert [event.id for event in events if isinstance(event, OrderAnswered)] == ["a"]
    assert [event.step for event in events if isinstance(event, StepDone)] == [4]
