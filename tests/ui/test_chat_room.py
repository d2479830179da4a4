"""A chat beside a training: held against the card first, and nothing starts where it is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.models import write_model
from tests.ui import fake_chat
from tests.ui.conftest import notice, page, picture, until
from tui_lora.core.chat import Ready
from tui_lora.core.chat_fit import ChatFit
from tui_lora.core.chat_memory import ChatForecast, ChatParts
from tui_lora.core.events import EVENTS, AttemptStarted, ModelLoaded, StepDone
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.core.spec import parse_spec
from tui_lora.store import sessions
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_link, talking
from tui_lora.ui.app import TuiLora
from tui_lora.ui.chat_facts import LinkState
from tui_lora.ui.chat_holds import before_a_run
from tui_lora.ui.messages import SensorsRead
from tui_lora.ui.screens.chat import ChatScreen
from tui_lora.ui.screens.no_room import NoRoom
from tui_lora.ui.screens.question import Question
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens

HOLD = """
import sys
from pathlib import Path
from tui_lora.store import lock
lock.hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
SEVEN_B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ChatTarget]:
    """What chat workers were started with; the workers are fakes."""
    found: list[ChatTarget] = []

    def start(target: ChatTarget) -> subprocess.Popen[bytes]:
        found.append(target)
        return fake_chat.start_fake_chat(target)

    monkeypatch.setattr(chat_link, "start_chat", start)
    monkeypatch.setattr(talking, "WAIT_EVERY_S", 0.05)
    return found


@pytest.fixture
def tuned(root: Path, tmp_path: Path) -> SessionPaths:
    """A session with an adapter on a model of 7 B whose weights are not here."""
    folder = write_model(tmp_path / "llama", **SEVEN_B)
    (folder / "model.safetensors").unlink()
    data = {"model": str(folder), "dataset": "quickstart", "quantization": {"scheme": "nf4"}}
    paths = sessions.create(root, "tuned", parse_spec(data))
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 100)
    return paths


@pytest.fixture
def training(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A session that trains: a real process holds its lock, and its events say that it has 3.5 GiB
    of the card and had 4.3; killed, it has ended."""
    paths = sessions.create(
        root, "gsm8k-run", parse_spec({"model": "tiny", "dataset": "quickstart"})
    )
    said: list[Any] = [
        AttemptStarted(attempt=1, pid=4242),
        ModelLoaded(seconds=3, device="cuda:0", memory_bytes=2**30),
        StepDone(step=9, epoch=0.1, reserved_gib=3.2, peak_reserved_gib=4.0),
    ]
    with paths.events.open("w", encoding="utf-8") as file:
        for seq, event in enumerate(said, start=1):
            file.write(EVENTS.encode(event.model_copy(update={"seq": seq, "t": 1.0 * seq})))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(paths.lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def card(total: float, used: float, machine: float = 60.0) -> SensorReading:
    found = CardReading(
        index=0,
        uuid="GPU-0",
        name="NVIDIA RTX 4000",
        total_gib=total,
        used_gib=used,
        free_gib=total - used,
        load_percent=None,
        heat_celsius=None,
        power_watts=None,
        power_limit_watts=None,
        processes=None,
        note=None,
        capability=(8, 9),
    )
    return SensorReading((found,), MachineReading(64.0, 64.0 - machine, 3, 8), None)


@asynccontextmanager
async def asked(
    root: Path, tuned: SessionPaths, reading: SensorReading, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[TuiLora, Pilot[None]]]:
    """The Chat screen, told the card, once the tuned session was chosen from its list."""
    app = TuiLora(root, session=tuned, start="chat", live=False)
    async with app.run_test(size=size) as pilot:
        app.post_message(SensorsRead(reading))
        await until(pilot, lambda: app.screen.query_one(TargetList).targets)
        await pilot.press("enter")
        yield app, pilot


def shown(app: TuiLora) -> str:
    return " ".join("\n".join(picture(app)).split())


def talk(app: TuiLora) -> ChatScreen:
    found = page(app)
    assert isinstance(found, ChatScreen)
    return found


async def refused(app: TuiLora, pilot: Pilot[None]) -> None:
    await until(pilot, lambda: isinstance(app.screen, NoRoom))
    await until(pilot, lambda: "There is no room for tuned." in shown(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.usefixtures("training")
async def test_what_does_not_fit_is_refused_with_the_figures(
    root: Path, tuned: SessionPaths, started: list[ChatTarget], size: tuple[int, int]
) -> None:
    async with asked(root, tuned, card(8.0, 4.0), size) as (app, pilot):
        await refused(app, pilot)
        text = shown(app)
        assert "chat would take 7.57 GiB; the card has 4.00 free" in text
        assert "of which gsm8k-run may still need 0.800 at its peak." in text
        assert "c load it on the CPU" in text
        assert "w wait for gsm8k-run" in text
        # It is in 4 bits already.
        assert "in 4 bits" not in text
        await pilot.press("f", "escape")
        assert talk(app).link.state.phase == "off"
        assert started == []


@pytest.mark.usefixtures("training")
async def test_where_it_fits_it_is_loaded_and_held_to_what_was_counted(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    async with asked(root, tuned, card(24.0, 4.0)) as (app, pilot):
        await until(pilot, lambda: talk(app).link.state.phase == "ready")
        assert [target.most_tokens for target in started] == [4096]
        assert 7.2 < (started[0].most_gib or 0) < 9.5


async def test_without_a_training_nothing_holds_it(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    async with asked(root, tuned, card(16.0, 0.5)) as (app, pilot):
        await until(pilot, lambda: talk(app).link.state.phase == "ready")
        assert (started[0].most_tokens, started[0].most_gib) == (None, None)


async def test_too_large_for_an_empty_card_is_refused_too(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    async with asked(root, tuned, card(6.0, 0.5, machine=2.0)) as (app, pilot):
        await refused(app, pilot)
        # The machine has no room either, and there is nobody to wait for.
        await pilot.press("c", "w")
        assert isinstance(app.screen, NoRoom)
        assert started == []


@pytest.mark.usefixtures("training")
async def test_on_the_cpu_by_one_key(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    async with asked(root, tuned, card(8.0, 4.0)) as (app, pilot):
        await refused(app, pilot)
        await pilot.press("c")
        await until(pilot, lambda: talk(app).link.state.phase == "ready")
        assert [(t.devices, t.quantization.scheme) for t in started] == [("cpu", "nf4")]


async def test_in_four_bits_by_one_key(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    tuned.spec.write_text(tuned.spec.read_text().replace("nf4", "none"))
    async with asked(root, tuned, card(16.0, 4.0)) as (app, pilot):
        await refused(app, pilot)
        await pilot.press("f")
        await until(pilot, lambda: talk(app).link.state.phase == "ready")
        assert [(t.devices, t.quantization.scheme) for t in started] == [("auto", "nf4")]


async def test_it_waits_and_opens_by_itself(
    root: Path,
    tuned: SessionPaths,
    started: list[ChatTarget],
    training: subprocess.Popen[bytes],
) -> None:
    async with asked(root, tuned, card(8.0, 4.0)) as (app, pilot):
        await refused(app, pilot)
        await pilot.press("w")
        await until(pilot, lambda: "tuned waits for gsm8k-run to end, and opens then" in shown(app))
        assert "w stops waiting" in shown(app)
        assert started == []
        # Enough is free, but not for both.
        app.post_message(SensorsRead(card(8.0, 0.2)))
        await until(pilot, lambda: app.sensors == card(8.0, 0.2))
        assert started == []
        training.kill()
        training.wait()
        await until(pilot, lambda: talk(app).link.state.phase == "ready", 20)
        assert not talk(app).choosing
        assert len(started) == 1


async def test_it_waits_a_moment_longer_for_memory_to_be_free(
    root: Path,
    tuned: SessionPaths,
    started: list[ChatTarget],
    training: subprocess.Popen[bytes],
) -> None:
    async with asked(root, tuned, card(8.0, 4.0)) as (app, pilot):
        await refused(app, pilot)
        await pilot.press("w")
        await until(pilot, lambda: talk(app).link.state.phase == "waiting")
        training.kill()
        training.wait()
        await until(pilot, lambda: talk(app)._looks_after == 1, 20)
        assert talk(app).link.state.phase == "waiting"
        await until(pilot, lambda: "there is no room yet" in notice(app), 20)
        assert talk(app).link.state.phase == "off"
        assert started == []


@pytest.mark.usefixtures("training")
async def test_waiting_is_called_off(
    root: Path, tuned: SessionPaths, started: list[ChatTarget]
) -> None:
    async with asked(root, tuned, card(8.0, 4.0)) as (app, pilot):
        await refused(app, pilot)
        await pilot.press("w")
        await until(pilot, lambda: talk(app).link.state.phase == "waiting")
        await pilot.press("w")
        assert talk(app).link.state.phase == "off"
        assert "no longer waiting" in notice(app)
        assert started == []


@pytest.mark.parametrize("yes", [True, False])
async def test_a_start_offers_to_close_the_chat(
    root: Path, tuned: SessionPaths, started: list[ChatTarget], yes: bool
) -> None:
    begun: list[str] = []
    async with asked(root, tuned, card(16.0, 0.5)) as (app, pilot):
        link = talk(app).link
        await until(pilot, lambda: link.state.phase == "ready")
        # The fake says that it is on the CPU, where it is in no run's way.
        before_a_run(page(app), lambda: begun.append("at once"))
        assert begun == ["at once"]
        parts = ChatParts(weights=3.6, adapters=0.1, cache=0.5, workspace=0.4, context=0.3)
        fit = ChatFit("card", ChatForecast(parts, 4096), 15.5, 16.0)
        link.state = LinkState("loading", link.state.target, fit=fit)
        before_a_run(page(app), lambda: begun.append("asked"))
        await until(pilot, lambda: isinstance(app.screen, Question))
        await until(pilot, lambda: "takes about 4.90 GiB of the card" in shown(app))
        assert begun == ["at once"]
        await pilot.press("y" if yes else "n")
        assert begun == (["at once", "asked"] if yes else ["at once"])
        assert link.state.phase == ("off" if yes else "loading")


@pytest.mark.parametrize(
    ("phase", "device", "held"),
    [
        ("ready", "cuda:0", {"card": 4.0}),
        # A part of it is free still, or the whole card.
        ("loading", None, {}),
        ("ready", "cpu", {}),
        ("ended", "cuda:0", {}),
    ],
)
def test_only_what_surely_is_there_is_counted_as_gained(
    phase: Any, device: str | None, held: dict[str, float]
) -> None:
    parts = ChatParts(weights=3.6, adapters=0.1, cache=0.5, workspace=0.4, context=0.3)
    ready = Ready(model="m", device=device, dtype="float16", seconds=1) if device else None
    fit = ChatFit("card", ChatForecast(parts, 4096), 15.5, 16.0)
    assert LinkState(phase, ready=ready, fit=fit).held == pytest.approx(held)
