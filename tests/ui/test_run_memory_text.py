"""A run's memory on the Train screen: on its card, beside others, and against the forecast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_run_memory import card, forecast
from tests.recorded import make_session, opening, steps, write
from tests.ui.conftest import page, picture, run_of, show, until
from tui_lora.core.events import Event, MemoryCreeps, MemoryForecasted, RunPlanned
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.core.status import Status
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SensorsRead
from tui_lora.ui.widgets.top_line import TopLine

pytestmark = pytest.mark.screens

PROCESSES = ((4242, "python", 10.9), (7, "Xorg", 0.25), (8, "firefox-bin", 0.31), (9, "a", 0.1))
CREEP = MemoryCreeps(step=250, gib=9.9, per_100_steps_gib=0.4213, full_at=391)


def on_card(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        known = {"device": "cuda:0"} if isinstance(event, RunPlanned) else {}
        yield event.model_copy(update=known)


@pytest.fixture
def live(root: Path) -> SessionPaths:
    return make_session(root, "live")


def reading(*processes: Any, used: float = 11.6) -> SensorReading:
    return readings(card(*processes, used=used))


def readings(*cards: CardReading) -> SensorReading:
    return SensorReading(cards, MachineReading(31.0, 5.0, 3, 8), None)


async def shown(
    app: TuiLora, pilot: Any, paths: SessionPaths, sensors: SensorReading | None
) -> str:
    if sensors is not None:
        pilot.app.post_message(SensorsRead(sensors))
        await until(pilot, lambda: app.sensors is sensors)
    await show(pilot, run_of(paths, Status.RUNNING))
    return "\n".join(picture(app))


def row_with(screen: str, word: str) -> str:
    return next(row.partition(word)[2] for row in screen.splitlines() if word in row)


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        (11.3, "11.3  ✓ within 1%"),
        (11.0, "11.0  ✓ within 3%"),
        (9.0, "9.00  ▲ it took 26% more"),
        (14.0, "14.0  it took 19% less"),
    ],
)
async def test_the_prediction_stands_beside_what_was_measured(
    live: SessionPaths, root: Path, predicted: float, words: str
) -> None:
    told = forecast(predicted)
    write(live, on_card(opening(400)), iter([told]), steps(1, 250, 400, card=True))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await shown(app, pilot, live, reading(*PROCESSES))
        assert words in row_with(screen, "predicted")
        assert row_with(screen, "allocated").split()[0] == "9.81"
        assert row_with(screen, "reserved").split()[:2] == ["10.6", "11.0"]
        assert row_with(screen, "process  ").split()[:2] == ["10.9", "11.3"]
        assert "0.700  fire…-bin 0.3, Xorg 0.2 +1" in row_with(screen, "others")
        assert row_with(screen, "headroom   ").split()[0] == "4.00"


async def test_until_an_evaluation_is_past_nothing_is_held_against_it(
    live: SessionPaths, root: Path
) -> None:
    told = forecast(12.5).model_copy(update={"tokens": 812})
    write(live, on_card(opening(400)), iter([told]), steps(1, 30, 400, card=True))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await shown(app, pilot, live, reading(*PROCESSES))
        assert "12.5  812-token rows" in row_with(screen, "predicted")
        # What is still to come is not headroom.
        assert row_with(screen, "headroom   ").split()[0] == "2.80"
        assert "headroom 2.8" in page(app).query_one(TopLine).said.plain
        assert "┃" in page(app).query_one(TopLine).said.plain


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, "being simulated"),
        (MemoryForecasted(card="x", unknown="packed rows are not [simulated]"), "packed rows"),
    ],
)
async def test_what_is_not_predicted_is_a_dash_with_its_reason(
    live: SessionPaths, root: Path, told: Event | None, words: str
) -> None:
    events = iter([told] if told is not None else [])
    write(live, on_card(opening(400)), events, steps(1, 30, 400, card=True))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await shown(app, pilot, live, None)
        assert row_with(screen, "predicted").split()[0] == "—"
        assert words in row_with(screen, "predicted")
        assert row_with(screen, "others").split() == ["—"]


@pytest.mark.parametrize("creeps", [False, True])
async def test_at_80_columns_it_is_one_line(live: SessionPaths, root: Path, creeps: bool) -> None:
    write(live, on_card(opening(400)), iter([forecast(11.3)]), steps(1, 250, 400, card=True))
    if creeps:
        write(live, iter([CREEP]))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await shown(app, pilot, live, reading(*PROCESSES))
        row = next(row for row in screen.splitlines() if "predicted" in row).strip()
        assert len(row) <= 78
        creep = "▲ +0.42/100 steps, full at 391  " * creeps
        assert row.startswith(f"headroom 4.00 GiB  {creep}peak 11.3  predicted 11.3 ✓")
        assert ("others 0.700  reserved 10.6" in row) is not creeps
        assert ("none left near step 391" in screen) is creeps


async def test_a_creep_is_named_beside_the_figures(live: SessionPaths, root: Path) -> None:
    write(live, on_card(opening(400)), steps(1, 250, 400, card=True), iter([CREEP]))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await shown(app, pilot, live, reading(*PROCESSES))
        assert "▲ grows 0.42 GiB in 100 steps, full near step 391" in screen


async def test_the_card_alone_changes_the_figures(live: SessionPaths, root: Path) -> None:
    write(live, on_card(opening(400)), iter([forecast(11.3)]), steps(1, 250, 400, card=True))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(app, pilot, live, reading(*PROCESSES))
        more = reading((4242, "python", 10.9), (7, "Xorg", 2.25), used=13.2)
        pilot.app.post_message(SensorsRead(more))
        await until(pilot, lambda: "Xorg 2.2" in "\n".join(picture(app)))
        assert row_with("\n".join(picture(app)), "headroom   ").split()[0] == "2.40"


async def test_names_of_processes_are_text(live: SessionPaths, root: Path) -> None:
    write(live, on_card(opening(400)), iter([forecast(11.3)]), steps(1, 250, 400, card=True))
    app = TuiLora(root, session=live, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        hostile = reading((4242, "python", 10.9), (7, "[b]\x1b[31m", 0.3), (8, None, 0.4))
        screen = await shown(app, pilot, live, hostile)
        assert "another process 0.4, [b]" in screen
        assert "\x1b" not in screen
