"""Whether the draft fits the card: the panel, the two rows, any card asked about, and advice."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.hub_models import FakeModelHub, pointed_at
from tests.models import write_model
from tests.recorded import FORECAST
from tests.ui.conftest import notice, page, picture
from tests.ui.conftest import until as until_within
from tests.ui.fake_inspect import GATE, start_fake_inspect
from tests.ui.test_data_drawing import measured
from tui_lora.core.cards import Card
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.core.spec import parse_spec
from tui_lora.store import launch
from tui_lora.store.preferences import Preferences, read_preferences, write_preferences
from tui_lora.ui.app import TuiLora
from tui_lora.ui.forms.ask_line import AskLine
from tui_lora.ui.headroom_text import foot_rows, memory_bar, panel_rows, verdict_of
from tui_lora.ui.memory_asked import card_seen
from tui_lora.ui.messages import CardAskedAbout, SensorsRead, SettingsChanged
from tui_lora.ui.row_lengths import LengthsKnown, lengths_of, row_lengths
from tui_lora.ui.screens.advice import AdviceList
from tui_lora.ui.state import CardSeen, Draft, MemorySeen
from tui_lora.ui.widgets.headroom import HeadroomFoot, HeadroomPanel, ModelHeadroom
from tui_lora.ui.widgets.line import Lines
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32,
    "tie_word_embeddings": False,
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The inspect workers that were started, all of them fakes."""
    found: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        found.append(start_fake_inspect(kind))
        return found[-1]

    monkeypatch.setattr(launch, "start_pipe_worker", start)
    return found


@pytest.fixture
def llama(tmp_path: Path) -> str:
    """A folder with nothing but a config.json."""
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return str(folder)


async def until(pilot: Pilot[None], done: Callable[[], object]) -> None:
    """Workers are processes, which a busy machine starts slowly."""
    await until_within(pilot, done, 20.0)


def settings(
    root: Path, model: str = "tiny", *, start: str = "settings", **sections: Any
) -> TuiLora:
    data = {"dataset": {"path": "/data/rows.jsonl"}, "quantization": {"scheme": "nf4"}, **sections}
    data["model"] = {"id": model} if model else {}
    app = TuiLora(root, start=start, live=False)
    app.set_reactive(TuiLora.draft, Draft("", data))
    return app


def cards(*totals: float | None, used: float | None = 0.4) -> SensorReading:
    """Cards of these sizes, by NVML's numbers."""
    found = tuple(
        CardReading(
            index=at,
            uuid=f"GPU-{at}",
            name=f"NVIDIA GeForce RTX {at}000",
            total_gib=total,
            used_gib=used,
            free_gib=None,
            load_percent=None,
            heat_celsius=None,
            power_watts=None,
            power_limit_watts=None,
            processes=None,
            note=None,
        )
        for at, total in enumerate(totals)
    )
    return SensorReading(found, MachineReading(31.0, 5.0, 3, 8), None)


def shown(app: TuiLora) -> str:
    """What stands there of the headroom, whichever form it has."""
    wide = page(app).has_class("-wide")
    widget = page(app).query_one(HeadroomPanel if wide else HeadroomFoot)
    assert widget.display
    return "\n".join(row.plain.rstrip() for row in widget.said)


async def simulated(pilot: Pilot[None]) -> None:
    app = pilot.app
    assert isinstance(app, TuiLora)
    await until(pilot, lambda: "simulated" in shown(app))


@pytest.mark.parametrize(
    ("total", "scheme", "tokens", "says"),
    [
        (8.0, "nf4", 512, "✓"),
        (8.0, "nf4", 640, "▲ tight"),
        (16.0, "nf4", 512, "✓"),
        (16.0, "none", 512, "✗ does not fit"),
        (24.0, "none", 512, "✓"),
    ],
)
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_it_says_whether_the_draft_fits(
    root: Path,
    started: object,
    total: float,
    scheme: str,
    tokens: int,
    says: str,
    size: tuple[int, int],
) -> None:
    app = settings(root, quantization={"scheme": scheme}, training={"max_length": tokens})
    async with app.run_test(size=size) as pilot:
        app.post_message(SensorsRead(cards(total)))
        await simulated(pilot)
        words = " ".join(shown(app).split())
        weights = 5.0 if scheme == "nf4" else 15.0
        left = abs(total - (weights + 2 * tokens / 1024 + 1.0 + 0.4))
        digits = 1 if size[0] < 110 else 2
        assert says in words
        assert f"{left:.{digits}f} of {total:.1f} GiB" in words
        assert f"weights {weights:.{digits}f}" in words
        # Nothing of it is cut off.
        drawn = "\n".join(picture(app))
        assert all(line in drawn for line in shown(app).splitlines())


async def test_a_run_that_is_on_the_card_is_somebody_else(root: Path, started: object) -> None:
    app = settings(root)
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(16.0, used=0.4)))
        await simulated(pilot)
        assert "✓ it fits" in shown(app)
        before = app.memory_seen
        # The same again is no news.
        app.post_message(SensorsRead(cards(16.0, used=0.4)))
        await pilot.pause()
        assert app.memory_seen is before
        app.post_message(SensorsRead(cards(16.0, used=9.0)))
        await until(pilot, lambda: "✗ does not fit: 1.00 GiB too much" in shown(app))
        assert "others       9.00" in shown(app)
        # That asked for no other simulation.
        assert app.memory_seen.forecast is before.forecast


async def test_the_formula_comes_at_once_and_the_simulation_after_it(
    root: Path, llama: str, started: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    monkeypatch.setenv(GATE, str(gate))
    slow = Path(llama).rename(tmp_path / "slow-llama")
    app = settings(root, str(slow))
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await until(pilot, lambda: "by formula …" in shown(app))
        seen = app.memory_seen
        assert seen.forecast is not None
        assert seen.forecast.method == "formula"
        assert 3 < seen.forecast.parts.weights < 4
        # With other settings there is another figure in the same moment.
        app.post_message(SettingsChanged({"quantization.scheme": "none"}))
        await until(pilot, lambda: app.memory_seen is not seen)
        assert app.memory_seen.forecast is not None
        assert 12 < app.memory_seen.forecast.parts.weights < 14
        gate.unlink()
        await simulated(pilot)
        assert app.memory_seen.forecast.parts.weights == 15.0


async def test_a_figure_for_other_settings_is_never_shown(
    root: Path, started: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv(GATE, str(gate))
    app = settings(root, "slow")
    async with app.run_test(size=(80, 24)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await simulated(pilot)
        gate.touch()
        app.post_message(SettingsChanged({"training.max_length": 2048}))
        await until(pilot, lambda: app.memory_seen.busy)
        assert "— simulating a step" in shown(app)
        assert "weights —" in shown(app)
        app.post_message(SettingsChanged({"training.max_length": 512}))
        gate.unlink()
        kept: set[float] = set()

        def settled() -> bool:
            found = app.memory_seen.forecast
            if found is not None:
                kept.add(found.parts.activations)
            return bool(kept)

        await until(pilot, settled)
        assert kept == {1.0}
        # What has no bearing on memory asks for nothing.
        before = app.memory_seen
        app.post_message(SettingsChanged({"training.learning_rate": 1e-4}))
        await pilot.pause(0.4)
        assert app.memory_seen is before


@pytest.mark.parametrize(
    ("model", "sections", "why"),
    [
        ("", {}, "no model is chosen yet"),
        ("odd", {}, "its layers are [unlike] any other"),
        ("tiny", {"hardware": {"devices": "cpu"}}, "trained on the processor"),
        ("tiny", {"training": {"max_length": "many"}}, "training.max_length does not hold"),
    ],
)
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_what_is_not_known_is_a_dash_with_its_reason(
    root: Path,
    started: object,
    model: str,
    sections: dict[str, Any],
    why: str,
    size: tuple[int, int],
) -> None:
    app = settings(root, model, **sections)
    async with app.run_test(size=size) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await until(pilot, lambda: why in " ".join(shown(app).split()))
        assert app.memory_seen.forecast is None
        assert "fits" not in shown(app)
        await pilot.press("a")
        if model != "odd":
            assert "nothing to simulate" in notice(app)


async def test_without_a_card_there_is_a_peak_and_any_card_can_be_named(
    root: Path, started: object
) -> None:
    app = settings(root)
    async with app.run_test(size=(80, 24)) as pilot:
        app.post_message(SensorsRead(cards()))
        await simulated(pilot)
        assert "it takes 8.0 GiB" in shown(app)
        assert "C names a card" in shown(app)
        await pilot.press("a")
        assert "C asks about any card" in notice(app)
        await pilot.press("C", *"nothing", "enter")
        line = page(app).query_one("#card-ask", AskLine)
        await until(pilot, lambda: "'nothing' names no card" in _text(line.query_one(Lines)))
        await pilot.press(*["backspace"] * 7, *"T4", "enter")
        await until(pilot, lambda: "headroom 7.0 of 15.0 GiB" in shown(app))
        assert line.purpose == ""
        assert read_preferences().card == "T4"
        await pilot.press("C", "backspace", "backspace", "enter")
        await until(pilot, lambda: "C names a card" in shown(app))
        assert read_preferences().card == ""


def _text(lines: Lines) -> str:
    return "\n".join(line.plain for line in lines.said)


async def test_advice_is_put_into_the_draft_and_taken_back(root: Path, started: object) -> None:
    app = settings(root, quantization={"scheme": "none"})
    async with app.run_test(size=(80, 24)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await simulated(pilot)
        assert "✗ does not fit" in shown(app)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AdviceList))
        table = app.screen.query_one(Table)
        await until(pilot, lambda: len(table.rows) == 3)
        first = [cell.plain for cell in table.rows[0].cells]
        assert first == ["change", "nf4 + micro-batch 1", "7.0", "-11.0", "✓ fits"]
        drawn = "\n".join(picture(app))
        assert "A little slower [than before]." in drawn
        assert "16.0 GiB: as it is 18.0 GiB ✗ does not fit" in drawn
        assert "puts it into the draft" in drawn
        # Where nothing fits there is nothing to take.
        await pilot.press("down", "down", "enter")
        assert isinstance(app.screen, AdviceList)
        assert "even at 64" in "\n".join(picture(app))
        await pilot.press("up", "up", "enter")
        await until(pilot, lambda: "✓ fits" in shown(app))
        assert app.draft.data["quantization"]["scheme"] == "nf4"
        assert app.draft.data["training"] == {"micro_batch": 1}
        await simulated(pilot)
        await pilot.press("u")
        await until(pilot, lambda: "✗ does not fit" in shown(app))
        assert app.draft.data["quantization"] == {"scheme": "none"}
        assert "training" not in app.draft.data


async def test_the_largest_rank_keeps_its_scale(root: Path, started: object) -> None:
    app = settings(root, lora={"r": 16, "alpha": 32})
    async with app.run_test(size=(80, 24)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await simulated(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AdviceList))
        table = app.screen.query_one(Table)
        await until(pilot, lambda: len(table.rows) == 3)
        await pilot.press("down")
        said = " ".join(_text(app.screen.query_one("#about-change", Lines)).split())
        assert "Enter: rank 16 → 64, alpha 32 → 128, so that α/r stays." in said
        await pilot.press("enter")
        await until(pilot, lambda: app.draft.data["lora"] == {"r": 64, "alpha": 128})


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({}, True),
        ({"training.max_length": 256}, True),
        ({"dataset.path": "/data/others.jsonl"}, False),
        ({"model.chat_template": "plain"}, False),
    ],
)
async def test_advice_knows_the_rows_that_were_measured_of_this_draft(
    root: Path, started: object, change: dict[str, Any], known: bool
) -> None:
    app = settings(root, quantization={"scheme": "none"})
    async with app.run_test(size=(120, 40)) as pilot:
        spec, _ = app.draft.check()
        assert spec is not None
        app.inspector.lengths = LengthsKnown(lengths_of(spec), measured())
        app.post_message(SensorsRead(cards(16.0)))
        app.post_message(SettingsChanged(change))
        await simulated(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AdviceList))
        table = app.screen.query_one(Table)
        await until(pilot, lambda: any(row.key.startswith("largest") for row in table.rows))
        titles = [row.cells[1].plain for row in table.rows]
        assert ("max length 512 (cuts 10 of 100 measured rows)" in titles) is known


def test_lengths_of_passages_or_half_measured_ones_tell_nothing_of_rows() -> None:
    spec = parse_spec({"model": "m", "dataset": "d.jsonl"})
    for changes in ({"passages": True}, {"done": False}):
        assert row_lengths(LengthsKnown(lengths_of(spec), measured(**changes)), spec) is None


def test_what_is_measured_and_stored_stands_beside_the_simulated() -> None:
    spec = parse_spec({"model": "m", "dataset": "d.jsonl"})
    seen = MemorySeen(CardSeen("T4", 15.0), spec, FORECAST, measured_gib=13.9, stored="nf4")
    rows = [row.plain.rstrip() for row in panel_rows(seen, 44)]
    assert any("13.90" in row and "by the fit check" in row for row in rows)
    assert any("weights" in row and row.endswith("NF4 in its files") for row in rows)
    assert "measured 13.9 GiB" in foot_rows(seen, 78)[0].plain
    plain = replace(seen, measured_gib=None, stored="")
    assert any("not quantized" in row.plain for row in panel_rows(plain, 44))


async def test_esc_leaves_advice_and_changes_nothing(
    root: Path, started: list[subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: Any
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv(GATE, str(gate))
    app = settings(root, "slow")
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(8.0)))
        await simulated(pilot)
        gate.touch()
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AdviceList))
        said = app.screen.query_one("#so-far", Lines)
        await until(pilot, lambda: "simulating" in said.said[0].plain)
        assert "to now" not in "\n".join(picture(app))
        before = app.draft
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, AdviceList))
        gate.unlink()
        # The worker goes on answering, and nobody hears of the advice.
        app.post_message(SettingsChanged({"training.max_length": 512}))
        await simulated(pilot)
        assert before.data.get("quantization") == app.draft.data["quantization"]
        assert len(started) == 1
        # Not even that the worker ended.
        started[0].kill()
        app.post_message(SettingsChanged({"training.max_length": 256}))
        await until(pilot, lambda: app.inspector.state == "ended" or len(started) == 2)
        await pilot.pause()


async def test_a_worker_that_ends_leaves_the_formula_and_says_so(root: Path, llama: str) -> None:
    # No worker can be started in this test.
    app = settings(root, llama)
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await until(pilot, lambda: "no inspect worker" in " ".join(shown(app).split()))
        await until(pilot, lambda: "by formula" in shown(app))
        assert "by formula …" not in shown(app)
        assert "✓ it fits" in shown(app)


async def test_the_model_screen_says_how_each_way_fits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    packed = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    plain = write_model(tmp_path / "models" / "a-plain", **LLAMA)
    write_model(tmp_path / "models" / "b-packed", **LLAMA, quantization_config=packed)
    write_preferences(Preferences(model_folders=[str(tmp_path / "models")]))
    app = settings(root, str(plain), start="model")
    async with app.run_test(size=(80, 24)) as pilot:
        app.post_message(SensorsRead(cards(8.0)))
        await until(pilot, lambda: "nf4 4" in row_of(app))
        assert re.fullmatch(
            r"on this card +nf4 4\.\d+ ✓  int8 1\d\.\d ✗  16 bits 1\d\.\d ✗  full 1\d\d ✗   GiB",
            row_of(app),
        )
        assert "memory         ✓ fits  headroom 2" in "\n".join(picture(app))
        # With the draft's other settings, and for the card that was asked about.
        app.post_message(CardAskedAbout(Card("24 GiB", 24.0)))
        app.post_message(SettingsChanged({"training.max_length": 4096}))
        await until(pilot, lambda: "on 24 GiB" in row_of(app) and "int8 2" in row_of(app))
        # Nothing is reckoned of what is stored in another way already.
        await pilot.press("down")
        await until(pilot, lambda: row_of(app).split() == ["on", "24", "GiB", "—"])


@pytest.fixture
def two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "models"
    write_preferences(Preferences(model_folders=[str(folder)]))
    return [write_model(folder / name, **LLAMA) for name in ("a-first", "b-slow")]


def beside(app: TuiLora) -> str:
    """The panel of the Model screen."""
    return "\n".join(row.plain.rstrip() for row in page(app).query_one(ModelHeadroom).said)


async def test_the_model_under_the_cursor_is_simulated_when_it_stays_there(
    root: Path,
    two_models: list[Path],
    started: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    monkeypatch.setenv(GATE, str(gate))
    app = settings(root, "", start="model")
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await until(pilot, lambda: page(app).query_one(Table).rows)
        table = page(app).query_one(Table)
        table.point(str(two_models[0]))
        await until(pilot, lambda: "peak         8.00  simulated, backward" in beside(app))
        # No other sizes are simulated for it: that was called off.
        assert "pointed" not in app.inspector._last
        assert "✓ it fits" in beside(app)
        assert "with 2 × 1,024 tokens, as in 4 Settings" in beside(app)
        words = "\n".join(picture(app))
        assert re.search(r"LoRA, nf4 +8\.00  ✓ fits +simulated", words)
        assert re.search(r"LoRA, 16 bits +14\.\d  ✓ fits +by formula", words)
        assert re.search(r"all weights +11\d  ✗ does not fit +by formula", words)
        # The draft has no model, and its figures are not those of the model pointed at.
        assert app.memory_seen.forecast is None
        # Of the next one there is the formula at once, and an answer that comes late is nobody's.
        table.point(str(two_models[1]))
        await until(pilot, lambda: "by formula …" in beside(app))
        await until(pilot, lambda: "pointed" in app.inspector._newest)
        table.point(str(two_models[0]))
        await pilot.pause()
        assert "pointed" not in app.inspector._newest
        gate.unlink()
        await until(pilot, lambda: "simulated" in beside(app))
        # Away from the screen nothing is asked.
        gate.touch()
        table.point(str(two_models[1]))
        await pilot.press("1")
        await until(pilot, lambda: app.current_mode == "sessions")
        assert "pointed" not in app.inspector._newest
        gate.unlink()
        await pilot.press("2")
        await until(pilot, lambda: "simulated" in beside(app))


async def test_a_model_of_the_hub_says_how_it_fits_before_it_is_fetched(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeModelHub()
    pointed_at(hub, tmp_path, monkeypatch)
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    weights = {"model.safetensors": b"x" * 8, "tokenizer.json": b"{}"}
    hub.add("nobody/llama", {"config.json": json.dumps(LLAMA).encode(), **weights})
    app = settings(root, "", start="model")
    async with app.run_test(size=(80, 24)) as pilot:
        app.post_message(SensorsRead(cards(8.0)))
        await pilot.press("h", "enter")
        await until(pilot, lambda: "Enter asks what fetching it takes" in "\n".join(picture(app)))
        assert row_of(app) == ""
        await pilot.press("enter")
        await until(pilot, lambda: "nf4 4" in row_of(app))
        assert re.search(r"nf4 4\.\d+ ✓  int8 1\d\.\d ✗ .* full 1\d\d ✗   GiB", row_of(app))
        assert "model.safetensors" not in hub.sent
    hub.close()


def row_of(app: TuiLora) -> str:
    found = (row.strip() for row in picture(app))
    return next((row for row in found if row.startswith(("on this card", "on 24 GiB"))), "")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_of_a_model_of_the_hub_the_config_alone_is_fetched(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    hub = FakeModelHub()
    pointed_at(hub, tmp_path, monkeypatch)
    hub.add("nobody/llama", {"config.json": json.dumps(LLAMA).encode()})
    hub.slow = threading.Event()
    # No worker can be started in this test.
    app = settings(root, "nobody/llama")
    async with app.run_test(size=size) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await until(pilot, lambda: "— fetching its config.json from the Hub …" in shown(app))
        hub.slow.set()
        await until(pilot, lambda: "by formula" in shown(app))
        assert "✓" in shown(app)
        assert set(hub.sent) == {"config.json"}
    hub.close()


async def test_a_model_that_the_hub_does_not_have_says_so(root: Path, started: object) -> None:
    app = settings(root, "nobody/odd")
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await until(pilot, lambda: "no Hub in this test." in shown(app))
        # Nor does the worker's answer hide it.
        await until(pilot, lambda: not app.memory_seen.busy)
        assert "no Hub in this test." in shown(app)


async def test_why_no_card_is_there_is_said(root: Path, started: object) -> None:
    app = settings(root, hardware={"devices": "1"})
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SensorsRead(cards(16.0)))
        await simulated(pilot)
        words = " ".join(shown(app).split())
        assert "it takes 8.0 GiB" in words
        assert "Hardware.devices is 1, which names no card here" in words
        assert "fits" not in words.replace("will it fit", "").replace("whether it fits", "")


def test_what_others_hold_is_never_taken_for_nothing() -> None:
    spec = parse_spec({"model": "m", "dataset": "d.jsonl"})
    seen = MemorySeen(CardSeen("T4", 15.0, None), spec, FORECAST)
    rows = "\n".join(row.plain.rstrip() for row in panel_rows(seen, 44))
    assert "✓" not in rows
    assert "others          —" in rows
    assert "headroom        —" in rows
    assert verdict_of(seen) == "unknown"
    assert card_seen(cards(16.0, used=None)) == replace(
        card_seen(cards(16.0)) or CardSeen(""), others_gib=None
    )


def test_the_bar_is_as_long_as_the_card() -> None:
    from tests.ui.fake_inspect import forecast
    from tui_lora.core.spec import parse_spec

    spec = parse_spec({"model": "m", "dataset": "d", "quantization": {"scheme": "nf4"}})
    found = forecast(spec)
    room = memory_bar(MemorySeen(CardSeen("x", 16.0, 2.0), spec, found), 32).plain
    # 5 + 2 + 1 of 16 GiB are half of it; what is less than half a cell is not in it.
    assert room.rstrip("─") == "██████████▓▒▒▒▒╱╲╲╲╲"
    assert len(room) == 32
    full = memory_bar(MemorySeen(CardSeen("x", 7.0), spec, found), 32).plain
    assert full.endswith("▶")
    assert len(full) == 32
    unknown = MemorySeen(CardSeen("x", None), spec, found)
    assert memory_bar(unknown, 8).plain == "─" * 8
    assert verdict_of(unknown) == "unknown"


def test_the_card_is_the_one_asked_about_then_the_one_that_devices_name() -> None:
    two, t4 = cards(8.0, 24.0), Card("T4", 15.0, (7, 5))
    named = [card_seen(two, devices) for devices in ("0", "auto", "1", "GPU-1", "7")]
    assert [card and card.total_gib for card in named] == [8.0, 8.0, 24.0, 24.0, None]
    asked = card_seen(two, "1", t4)
    assert asked == CardSeen("T4", 15.0, capability=(7, 5), asked=True)
    # One that was asked about on another day does not stand before one that is here.
    assert card_seen(two, "auto", None, t4) == named[0]
    assert card_seen(cards(), "auto", None, t4) == asked
    assert card_seen(None, "auto", None, t4) is None
    assert card_seen(cards(), "auto") is None
