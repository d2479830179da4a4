"""A train worker's forecast of its own memory: when it is said, and that nothing waits for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ui.fake_inspect import start_fake_inspect
from tui_lora.core.events import Event, MemoryForecasted
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.store import launch
from tui_lora.worker import forecasting
from tui_lora.worker.forecasting import Forecasting


class Heard:
    """In the place of a reporter."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.came = threading.Event()

    def say(self, event: Event) -> None:
        self.events.append(event)
        self.came.set()

    def all_of(self, forecast: Forecasting) -> list[MemoryForecasted]:
        forecast._thread.join(150)
        assert not forecast._thread.is_alive()
        assert all(isinstance(event, MemoryForecasted) for event in self.events)
        return self.events  # type: ignore[return-value]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The fake workers that were started."""
    found: list[Any] = []

    def start(kind: str, *arguments: str, devices: str) -> Any:
        assert (kind, devices) == ("forecast", "cpu")
        found.append(start_fake_inspect("inspect"))
        return found[-1]

    monkeypatch.setattr(forecasting, "start_pipe_worker", start)
    return found


def spec(model: str = "tiny", **training: Any) -> RunSpec:
    data = {"model": {"id": model}, "dataset": {"path": "quickstart"}, "training": training}
    return parse_spec(data)


def machine(cards: int = 1, visible: str | None = None) -> SensorReading:
    numbers: list[Any] = [16.0, 0.4, 15.6, *[None] * 4]
    found = tuple(
        CardReading(i, f"GPU-{i}", f"RTX {i}", *numbers, (), None, (8, 9)) for i in range(cards)
    )
    machine = MachineReading(31.0, 5.0, 3, 8)
    return SensorReading(found, machine, None, driver="580.1", visible=visible)


def test_it_is_said_for_the_settings_and_again_for_the_rows(started: list[Any]) -> None:
    heard = Heard()
    forecast = Forecasting(heard, machine(3, visible="GPU-2"))  # type: ignore[arg-type]
    forecast.ask(spec(max_length=1024, micro_batch=4))
    heard.came.wait(60)
    forecast.ask_again(spec(max_length=1024, micro_batch=4), longest_row=256, rows=300)
    first, second = heard.all_of(forecast)
    assert (first.tokens, second.tokens) == (1024, 256)
    assert {event.card for event in (first, second)} == {"RTX 2"}
    assert (first.total_gib, first.driver, first.context_source) == (16.0, "580.1", "0.30 assumed")
    assert first.forecast is not None
    assert second.forecast is not None
    assert second.forecast.peak_process_gib < first.forecast.peak_process_gib
    assert started[0].poll() is not None  # nothing is left behind


@pytest.mark.parametrize("reading", [machine(0), machine(1, visible=""), machine(1, visible="-1")])
def test_without_a_card_nothing_is_started(started: list[Any], reading: SensorReading) -> None:
    heard = Heard()
    forecast = Forecasting(heard, reading)  # type: ignore[arg-type]
    forecast.ask(spec())
    assert heard.all_of(forecast) == []
    assert started == []
    forecast.end()


@pytest.mark.parametrize(
    ("rows", "micro_batch", "accumulation"), [(300, 4, 8), (7, 4, 2), (4, 4, 1), (3, 3, 1)]
)
def test_few_rows_make_no_more_micro_batches_than_an_epoch_has(
    rows: int, micro_batch: int, accumulation: int
) -> None:
    forecast = Forecasting(Heard(), machine(0))  # type: ignore[arg-type]
    forecast.ask_again(spec(micro_batch=4, accumulation=8), longest_row=256, rows=rows)
    asked = forecast._asked.get(timeout=60)
    assert asked is not None
    found = asked.spec.training
    assert (found.micro_batch, found.accumulation) == (micro_batch, accumulation)


def test_what_is_not_known_is_said_once_the_rows_are_known(started: list[Any]) -> None:
    heard = Heard()
    forecast = Forecasting(heard, machine())  # type: ignore[arg-type]
    forecast.ask(spec("odd"))
    forecast.ask_again(spec("odd"), longest_row=100, rows=10)
    (event,) = heard.all_of(forecast)
    assert event.forecast is None
    assert "its layers are" in event.unknown


def test_a_worker_that_ends_is_told_of(started: list[Any]) -> None:
    heard = Heard()
    forecast = Forecasting(heard, machine())  # type: ignore[arg-type]
    forecast.ask_again(spec("short"), longest_row=100, rows=10)
    (event,) = heard.all_of(forecast)
    assert event.unknown == "the forecast's worker ended without a word"


def test_the_end_of_the_run_waits_for_nobody(started: list[Any]) -> None:
    heard = Heard()
    forecast = Forecasting(heard, machine())  # type: ignore[arg-type]
    forecast.ask(spec("deaf"))
    deadline = time.monotonic() + 60
    while not started and time.monotonic() < deadline:
        time.sleep(0.005)
    began = time.monotonic()
    forecast.end()
    assert time.monotonic() - began < 10
    assert heard.all_of(forecast) == []
    assert started[0].poll() is not None


def test_a_worker_that_cannot_be_started_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(forecasting, "start_pipe_worker", cannot)
    heard = Heard()
    forecast = Forecasting(heard, machine())  # type: ignore[arg-type]
    forecast.ask(spec())
    assert heard.all_of(forecast) == []
    forecast.end()


@pytest.mark.model
def test_the_real_worker_simulates_and_ends_with_its_input(tiny_model: Path) -> None:
    heard = Heard()
    forecast = Forecasting(heard, machine())  # type: ignore[arg-type]
    asked = spec(str(tiny_model), max_length=64, micro_batch=8)
    forecast.ask_again(asked, longest_row=40, rows=3)
    (event,) = heard.all_of(forecast)
    assert event.unknown == ""
    assert event.forecast is not None
    assert event.forecast.method == "simulated"
    assert event.forecast.parts.weights > 0
    left = launch.start_pipe_worker("forecast", devices="cpu")
    left.communicate(timeout=60)
    assert left.returncode == 0
