"""The fit check on the screen, with a worker of its own that speaks the real protocol."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot

from tests.fake_fit_check import GATE, start_fake_fit_check
from tests.models import write_model
from tests.ui.conftest import page, picture
from tests.ui.conftest import until as until_within
from tests.ui.fake_inspect import start_fake_inspect
from tests.ui.test_headroom import cards
from tui_lora.store import launch, sessions
from tui_lora.ui import fit_link
from tui_lora.ui.app import TuiLora
from tui_lora.ui.fit_check_text import in_room
from tui_lora.ui.messages import SensorsRead, SettingsChanged
from tui_lora.ui.screens.advice import AdviceList
from tui_lora.ui.screens.fit_check import FitCheckScreen
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Block, Line

pytestmark = pytest.mark.screens


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, subprocess.Popen[bytes]]]:
    """The workers that were started, all of them fakes."""
    found: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        fake = start_fake_fit_check if kind == "fit_check" else start_fake_inspect
        found.append((kind, fake(kind, devices=devices)))
        return found[-1][1]

    monkeypatch.setattr(launch, "start_pipe_worker", start)
    return found


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions that train, by name; to be filled."""
    names: list[str] = []
    monkeypatch.setattr("tui_lora.store.card_users.training_on_cards", lambda root: tuple(names))
    return names


async def until(pilot: Pilot[None], done: Callable[[], object]) -> None:
    """Workers are processes, which a busy machine starts slowly."""
    await until_within(pilot, done, 20.0)


def settings(root: Path, tmp_path: Path, model: str = "tiny", **sections: Any) -> TuiLora:
    place = write_model(tmp_path / model)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a b", "completion": "c d"}\n' * 9)
    app = TuiLora(root, start="settings", live=False)
    data = {"model": {"id": str(place)}, "dataset": {"path": str(file)}, **sections}
    app.set_reactive(TuiLora.draft, Draft("", data))
    return app


def rows(app: TuiLora) -> list[str]:
    """What stands in the panel, its last row being the keys."""
    shown = app.screen
    assert isinstance(shown, FitCheckScreen)
    said = [row.plain.rstrip() for row in shown.query_one(Block).said]
    return [row for row in said if row] + [shown.query_one("#picker-keys", Line).said.plain]


def text(app: TuiLora) -> str:
    return " ".join(" ".join(rows(app)).split())


async def opened(pilot: Pilot[None], reading: Any) -> None:
    app = pilot.app
    assert isinstance(app, TuiLora)
    app.post_message(SensorsRead(reading))
    await until(pilot, lambda: app.sensors is reading)
    await pilot.press("f")
    await until(pilot, lambda: isinstance(app.screen, FitCheckScreen))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_measured_beside_predicted_and_kept_until_a_setting_changes(
    root: Path, tmp_path: Path, started: Any, training: list[str], size: tuple[int, int]
) -> None:
    app = settings(root, tmp_path, quantization={"scheme": "nf4"}, training={"micro_batch": 1})
    async with app.run_test(size=size) as pilot:
        await opened(pilot, cards(16.0))
        await until(pilot, lambda: "reserved 6.19" in text(app))
        said = text(app)
        assert "✓ fits: 8.90 GiB of the card are left; others hold 0.40" in said
        # 5.7 and 500 of 1,024 tokens, predicted of the batch that was measured.
        assert "allocated 6.19 6.20 -0.2%" in said
        assert "reserved 6.19 6.40 -3.3%" in said
        assert "process 6.49 6.70 -3.2%" in said
        assert "evaluation 5.80 6.00 6.30 2.0" in said
        assert "s starts the run" in rows(app)[-1]
        assert all(len(row) <= size[0] for row in picture(app))
        assert rows(app)[-1].strip() in "\n".join(picture(app))
        await pilot.press("escape")
        await until(pilot, lambda: "measured" in "\n".join(picture(app)))
        checks = [kind for kind, _ in started].count("fit_check")
        # The same draft: what was found is shown, and nothing is started.
        await pilot.press("f")
        await until(pilot, lambda: "✓ fits: 8.90 GiB" in text(app))
        await pilot.press("escape")
        app.post_message(SettingsChanged({"training.learning_rate": 1e-3}))
        await pilot.pause()
        assert fit_link.kept_check(app, app.memory_seen.spec) is not None
        app.post_message(SettingsChanged({"training.micro_batch": 2}))
        await until(pilot, lambda: fit_link.kept_check(app, app.memory_seen.spec) is None)
        await until(pilot, lambda: "measured" not in "\n".join(picture(app)))
        assert [kind for kind, _ in started].count("fit_check") == checks == 1


async def test_escape_ends_it_at_once(
    root: Path, tmp_path: Path, started: Any, training: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    monkeypatch.setenv(GATE, str(gate))
    app = settings(root, tmp_path, "slow")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, cards(16.0))
        await until(pilot, lambda: "● taking the first step" in text(app))
        assert "✓ loaded 2.0 s 5.70 GiB at its peak" in text(app)
        assert "Esc ends it; nothing stays on the card" in rows(app)[-1]
        (worker,) = [process for kind, process in started if kind == "fit_check"]
        await pilot.press("escape")
        await until(pilot, lambda: worker.poll() is not None)
        assert not isinstance(app.screen, FitCheckScreen)
        assert fit_link.kept_check(app, app.memory_seen.spec) is None


@pytest.mark.parametrize(
    ("names", "used", "says"),
    [
        (("run-[/b]x",), 0.4, "others hold 0.4 GiB of the card run-[/b]x trains now."),
        ((), 3.0, "others hold 3.0 GiB of the card Other processes may need more of it"),
    ],
)
async def test_beside_others_it_asks_first(
    root: Path,
    tmp_path: Path,
    started: Any,
    training: list[str],
    names: tuple[str, ...],
    used: float,
    says: str,
) -> None:
    training.extend(names)
    app = settings(root, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, cards(16.0, used=used))
        await until(pilot, lambda: "Enter checks it all the same" in text(app))
        assert says in text(app)
        assert "fit_check" not in [kind for kind, _ in started]
        await pilot.press("enter")
        await until(pilot, lambda: "second step" in text(app) and "measures again" in text(app))


async def test_without_a_card_it_says_what_it_would_measure(
    root: Path, tmp_path: Path, started: Any, training: list[str]
) -> None:
    app = settings(root, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, cards())
        await until(pilot, lambda: "there is no card here" in text(app))
        assert "how long a step is" in text(app)
        await pilot.press("escape")
        app.post_message(SettingsChanged({"hardware.devices": "cpu"}))
        await pilot.pause()
        # The processor was asked for: there is nothing to ask about.
        await pilot.press("f")
        await until(pilot, lambda: "measures again" in text(app))
        assert "process — 6.70 —" in text(app)
        assert "nothing is predicted" in text(app)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("short", "✗ memory ran out in the first step, "),
        ("broken", "✗ it could not be checked lora.target_modules: no such layer."),
        ("dead", "✗ it could not be checked the fit check worker ended: the library fell off"),
    ],
)
async def test_what_goes_wrong_is_said(
    root: Path, tmp_path: Path, started: Any, training: list[str], model: str, says: str
) -> None:
    app = settings(root, tmp_path, model)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, cards(16.0))
        await until(pilot, lambda: says in text(app))
        assert ("a what makes it fit" in rows(app)[-1]) is (model == "short")
        if model == "short":
            assert "weights 5.10" in text(app)
            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, AdviceList))


async def test_a_draft_that_cannot_run_is_not_checked(
    root: Path, tmp_path: Path, started: Any, training: list[str]
) -> None:
    app = settings(root, tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, cards(16.0))
        await until(pilot, lambda: "✗ this draft cannot run yet" in text(app))
        assert "rows.jsonl" in text(app)
        assert "fit_check" not in [kind for kind, _ in started]


async def test_s_starts_the_run(
    root: Path,
    tmp_path: Path,
    started: Any,
    training: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "start_training", lambda *_, **__: 1)
    app = settings(root, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, cards(16.0))
        await until(pilot, lambda: "s starts the run" in text(app))
        await pilot.press("s")
        await until(pilot, lambda: sessions.listed(root))
        assert page(app).TITLE_WORD == "Train"


def test_what_has_no_room_is_left_out_visibly() -> None:
    given = [Content(text) for text in ("a", "", "b", "c", "", "d")]

    def kept(room: int) -> list[str]:
        return [row.plain for row in in_room(given, room)]

    assert kept(6) == ["a", "", "b", "c", "", "d"]
    assert kept(5) == ["a", "", "b", "c", "d"]
    assert kept(4) == ["a", "b", "c", "d"]
    assert kept(3) == ["a", "b", "c …"]
