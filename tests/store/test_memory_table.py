"""The table of runs on cards: what is written of a session, what is read of it, what it teaches."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.test_run_memory import forecast
from tests.recorded import make_session, opening, steps, write
from tui_lora.core.events import (
    AttemptStarted,
    Choice,
    ChoicesMade,
    Event,
    MemoryMeasured,
    MemoryRanOut,
)
from tui_lora.core.measured_runs import MeasuredRun, Peaks
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.store import memory_table
from tui_lora.store.memory_table import keep, learn_from, measured_runs, run_of, with_learned
from tui_lora.store.paths import SessionPaths

CARD = "NVIDIA GeForce RTX 4080"


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUI_LORA_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "memory.jsonl"


def run(t: float = 1.0, context: float = 0.4, **changes: object) -> MeasuredRun:
    values = {"t": t, "session": "run", "card": CARD, "driver": "580.82.07", **changes}
    return MeasuredRun(**values, measured=Peaks(reserved_gib=10.0, context_gib=context))  # type: ignore[arg-type]


def attempt(number: int = 1) -> Iterator[Event]:
    """On a card, with 2.13 of torch, on an nf4 base."""
    for event in opening(40, attempt=number, resumed_from=20 if number > 1 else None):
        known = {"versions": {"torch": "2.13.0"}} if isinstance(event, AttemptStarted) else {}
        yield event.model_copy(update=known)
    yield forecast(11.4).model_copy(update={"driver": "580.82.07", "tokens": 312})
    made = {"quantization.scheme": "nf4", "training.packing": "no", "model.attention": "sdpa"}
    chosen = (Choice(setting=name, value=value, reason="") for name, value in made.items())
    yield ChoicesMade(choices=tuple(chosen))


def measured(reserved: float | None = 11.0) -> Iterator[Event]:
    yield MemoryMeasured(
        card=CARD,
        total_gib=16.0,
        peak_allocated_gib=10.2,
        peak_reserved_gib=reserved,
        context_gib=0.41,
        context_source="by the driver",
    )


@pytest.fixture
def session(tmp_path: Path) -> SessionPaths:
    return make_session(tmp_path, "live")


def test_a_run_in_the_table_says_what_was_predicted_and_measured(session: SessionPaths) -> None:
    write(session, attempt(), steps(1, 40, 40, card=True), measured())
    learn_from(session, steps=40)
    (found,) = measured_runs()
    assert (found.session, found.attempt, found.card, found.total_gib) == ("live", 1, CARD, 16.0)
    assert (found.scheme, found.packing, found.attention) == ("nf4", "no", "sdpa")
    assert (found.variant, found.r, found.micro_batch, found.max_length) == ("lora", 16, 2, 1024)
    assert (found.tokens, found.parameters) == (312, 137_000_000)
    assert (found.driver, found.torch) == ("580.82.07", "2.13.0")
    assert found.predicted is not None
    assert found.predicted.process_gib == pytest.approx(11.4)
    assert found.measured.process_gib == pytest.approx(11.41)
    assert found.measured.allocated_gib == 10.2


def test_of_several_attempts_the_last_counts(session: SessionPaths) -> None:
    write(session, attempt(), steps(1, 20, 40, card=True), measured())
    write(session, attempt(2), steps(21, 22, 40, card=True))
    assert run_of(session, steps=40) is None  # it was killed before it had measured anything
    write(session, measured(12.5))
    found = run_of(session, steps=40)
    assert found is not None
    assert (found.attempt, found.measured.reserved_gib) == (2, 12.5)


@pytest.mark.parametrize(
    ("number", "steps_taken", "more", "predicted"),
    [
        (1, 1, [], 11.4),
        # Stopped while it loaded: 4.1 GiB say nothing of a forecast of 11.4.
        (1, 0, [], None),
        (1, 9, [MemoryRanOut(step=10, phase="backward", device="cuda:0")], None),
        # It went on in the middle of the rows; an epoch has 14 steps.
        (2, 13, [], None),
        (2, 14, [], 11.4),
    ],
)
def test_a_forecast_is_judged_by_attempts_that_came_to_their_peak(
    session: SessionPaths,
    number: int,
    steps_taken: int,
    more: list[Event],
    predicted: float | None,
) -> None:
    write(session, attempt(number), more, measured(4.1))
    learn_from(session, steps=steps_taken)
    (found,) = measured_runs()
    assert (found.predicted.process_gib if found.predicted else None) == (
        None if predicted is None else pytest.approx(predicted)
    )
    # What CUDA takes beside it is told all the same.
    assert (found.measured.reserved_gib, found.measured.context_gib) == (4.1, 0.41)


def test_what_was_not_measured_on_a_card_is_not_kept(session: SessionPaths, table: Path) -> None:
    write(session, attempt(), steps(1, 40, 40))
    learn_from(session, steps=40)
    write(session, measured(None))
    learn_from(session, steps=40)
    assert not table.exists()


def test_a_table_that_cannot_be_written_fails_no_run(session: SessionPaths, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    write(session, attempt(), measured())
    learn_from(session, steps=40)
    assert measured_runs() == ()


def test_what_cannot_be_read_is_skipped(table: Path) -> None:
    keep(run(1))
    with table.open("a") as file:
        file.write("no json\n[1]\n{}\n\n" + '{"t": "x"}\n' + "[" * 5000 + "\n")
        file.write('{"t": 3, "session": "s", "card": "c", "newer": {"field": 1}}\n')
        file.write('{"t": 4, "session": "s", "card": "c", "measured": {"reserved_gib": -1}}\n')
        file.write('{"t": 5, "session": "s", "ca')  # torn
    assert [found.t for found in measured_runs()] == [1, 3]


def test_it_is_bounded_and_keeps_the_newest(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_table, "_MOST_BYTES", 8000)
    for t in range(100):
        keep(run(t))
        assert table.stat().st_size < 8400
    kept = [found.t for found in measured_runs()]
    assert kept == list(range(int(kept[0]), 100))
    assert len(kept) > 10


def _keep_many(first: int) -> None:
    for t in range(first, first + 50):
        keep(run(t))


def test_several_processes_write_it_at_once(table: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_keep_many, args=(first,)) for first in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(measured_runs()) == 150
    # What a reader saw of a line while it was written counts as torn: an empty line ends it.
    assert all(json.loads(line) for line in table.read_text().splitlines() if line)


def reading(name: str = CARD, driver: str = "580.99") -> SensorReading:
    card = CardReading(0, "u", name, 16.0, 0.4, 15.6, *[None] * 4, (), None)  # type: ignore[arg-type]
    return SensorReading((card,), MachineReading(31.0, 5.0, 3, 8), None, driver=driver)


def test_the_context_of_a_card_is_learned_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_table, "_torch", lambda: "2.13.0")

    def told(shown: SensorReading) -> tuple[float | None, str]:
        (card,) = with_learned(shown).cards
        return card.context_gib, card.context_source

    assert told(reading()) == (0.3, "0.30 assumed")
    keep(run(1, 0.40, torch="2.13.0"))
    assert told(reading()) == (0.40, "learned on this card (1 run)")
    keep(run(2, 0.42, torch="2.13.0"))
    assert told(reading()) == (pytest.approx(0.41), "learned on this card (2 runs)")
    assert told(reading("Tesla T4")) == (0.3, "0.30 assumed")
    assert told(reading(driver="535.1")) == (0.3, "0.30 assumed")
