"""Merging from the Results screen, with a worker of its own that speaks the real protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from textual.widgets import Input

from tests.fake_merge import GATE, start_fake_merge
from tests.models import write_model
from tests.recorded import done_session
from tests.ui.conftest import picture, run_of, show, until
from tui_lora.store import exports, launch
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SessionChosen
from tui_lora.ui.screens.export import ExportScreen
from tui_lora.ui.widgets.line import Line, Lines

pytestmark = pytest.mark.screens


@pytest.fixture
def done(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    monkeypatch.setattr(launch, "start_pipe_worker", start_fake_merge)
    monkeypatch.setattr(exports, "with_room", lambda root, target, dtype: target)
    paths = done_session(root)
    spec = yaml.safe_load(paths.spec.read_text())
    spec["model"] = {"id": str(write_model(tmp_path / "base"))}
    spec["quantization"] = {"scheme": "nf4"}
    paths.spec.write_text(yaml.safe_dump(spec))
    paths.adapter.mkdir()
    (paths.adapter / "adapter_config.json").write_text(json.dumps({"r": 4}))
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 9_820_000)
    return paths


def said(app: TuiLora) -> str:
    shown = app.screen
    assert isinstance(shown, ExportScreen)
    rows = [row.plain for row in shown.query_one("#told", Lines).said]
    return " ".join(" ".join([*rows, shown.query_one("#form-keys", Line).said.plain]).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_merged_cancelled_and_refused(
    root: Path,
    tmp_path: Path,
    done: SessionPaths,
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    monkeypatch.setenv(GATE, str(gate))
    app = TuiLora(root, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        app.post_message(SessionChosen(done))
        await show(pilot, run_of(done))
        await until(pilot, lambda: app.screen.check_action("merge", ()))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen))
        await until(pilot, lambda: "auto: bfloat16" in said(app))
        assert "weights as they were before" in said(app)
        field = app.screen.query_one("#out", Input)
        assert field.value.startswith(str(done.folder / "exports" / "merged-"))
        await pilot.press("up")
        assert "float32" in said(app)

        field.value = str(tmp_path / "slow")
        await pilot.press("enter")
        await until(pilot, lambda: "6.00 GB of 15.0 GB" in said(app))
        assert "[/INST]" in said(app)
        assert all(len(row) <= size[0] for row in picture(app))
        await pilot.press("escape")
        assert "cancelled; nothing is left of it" in said(app)

        field.value = str(tmp_path / "wrong")
        await pilot.press("enter")
        await until(pilot, lambda: "rounding accounts for 0.4" in said(app))

        taken = tmp_path / "taken"
        taken.mkdir()
        (taken / "thesis.tex").touch()
        field.value = str(taken)
        await pilot.press("enter")
        await until(pilot, lambda: "no merged model of ours" in said(app))

        field.value = str(tmp_path / "fine")
        await pilot.press("enter")
        await until(pilot, lambda: "merged: 15.0 GB in 15 files" in said(app))
        assert "4 of 4 greedy answers are the same" in said(app)
        assert "2.18 merged, 1.66 on nf4 weights" in said(app)
        assert "Esc leaves" in "\n".join(picture(app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ExportScreen))
