"""What tests of the screens share: a config folder of their own, and patience without sleeping."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec
from tui_lora.core.status import Status
from tui_lora.core.view import RunView
from tui_lora.store import launch, model_sizes, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_now import with_changes
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import RunChanged
from tui_lora.ui.page import Page
from tui_lora.ui.state import RunNow
from tui_lora.ui.widgets.line import Line


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("TUI_LORA_CONFIG", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_worker_by_itself(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen that looks at a model starts no real worker of torch, but in tests of real ones."""
    if request.node.get_closest_marker("model"):
        return
    really = launch.start_pipe_worker

    def start(kind: str, *arguments: str, devices: str = "auto") -> launch.Process:
        if kind == "fetch":
            return really(kind, *arguments, devices=devices)
        raise OSError(f"no {kind} worker in this test")

    monkeypatch.setattr(launch, "start_pipe_worker", start)


@pytest.fixture(autouse=True)
def no_config_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the Hub that is named asks no Hub, but one of a test's own."""
    really = model_sizes.fetch_config

    def fetch(model: ModelSpec, timeout_s: float = 10.0) -> Path:
        if "127.0.0.1" in os.environ.get("HF_ENDPOINT", ""):
            return really(model, timeout_s)
        raise UserError("no Hub in this test.")

    monkeypatch.setattr(model_sizes, "fetch_config", fetch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "sessions"
    folder.mkdir()
    return folder


def run_of(paths: SessionPaths, status: Status | None = None) -> RunNow:
    """What the feed would post of a recorded session; `status` as if its worker did that."""
    view = sessions.fold(paths.events.read_bytes().splitlines(), RunView())
    result = sessions.read_result(paths)
    derived = status or sessions.status_of(paths, view)
    first = read_spec(paths.spec)
    now = with_changes(first, view.spec_changes)
    return RunNow(paths, derived, view, now, "", result, first=first)


async def show(pilot: Pilot[None], run: RunNow) -> None:
    pilot.app.post_message(RunChanged(run))
    await until(pilot, lambda: pilot.app.run_now is run)  # type: ignore[attr-defined]
    await pilot.pause()


async def until(pilot: Pilot[None], done: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the app work until `done`; a thread may be what it waits for."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)
        await pilot.pause()


def page(app: TuiLora) -> Page:
    shown = app.screen_stack[0]
    assert isinstance(shown, Page)
    return shown


def notice(app: TuiLora) -> str:
    return page(app).query_one("#notice", Line).said.plain


def keys(app: TuiLora) -> str:
    return page(app).query_one("#keys", Line).said.plain


def picture(app: TuiLora) -> list[str]:
    """The screen as rows of plain text."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    return [strip.text[:width] for strip in strips[:height]]
