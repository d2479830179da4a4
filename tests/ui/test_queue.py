"""The queue on the screens: what waits, in which order, and the keys that change it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.recorded import START, make_session, opening, steps, write
from tests.ui.conftest import keys, notice, page, picture, until
from tui_lora.core.queue import Queued, Refused
from tui_lora.core.status import Status
from tui_lora.store import launch, lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import queue_path, read_queue, say
from tui_lora.ui.app import TuiLora
from tui_lora.ui.feed import Lister
from tui_lora.ui.messages import SessionsListed
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens


@pytest.fixture
def waiting(root: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Three that wait behind one that runs, and one that could not start; the names of what
    runs."""
    runs = {"runs"}
    monkeypatch.setattr(lock, "holder", lambda path: 1 if path.parent.name in runs else None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    write(make_session(root, "runs"), opening(500), steps(1, 20, 500))
    for name in ("a", "b", "c", "bad", "other"):
        make_session(root, name)
    for name in ("c", "a", "b"):
        say(root, Queued, name, card="0")
    say(root, Refused, "bad", why="the model is gone.")
    return runs


async def listed(pilot: Pilot[None], root: Path) -> None:
    found = Lister(root).look(lambda first: None)
    app = pilot.app
    assert isinstance(app, TuiLora)
    app.post_message(SessionsListed(found))
    await until(pilot, lambda: app.sessions == found)
    await pilot.pause()


def names(app: TuiLora) -> list[str]:
    return [row.key for row in page(app).query_one(Table).rows]


def order(root: Path) -> list[str]:
    return [entry.name for entry in read_queue(root).waiting]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_those_that_wait_stand_in_their_order_under_what_runs(
    root: Path, waiting: set[str], size: tuple[int, int]
) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=size) as pilot:
        await listed(pilot, root)
        at = names(app).index("runs")
        assert names(app)[at + 1 : at + 4] == ["c", "a", "b"]
        shown = "\n".join(picture(app))
        for words in ("queued, 1st", "queued, 2nd", "queued, 3rd", "! not started"):
            assert words in shown
        assert "nothing runs" not in shown
        page(app).query_one(Table).point("bad")
        await until(pilot, lambda: "at its turn: the model is gone." in "\n".join(picture(app)))
        assert "earlier" not in keys(app)


async def test_keys_move_take_out_and_put_in(root: Path, waiting: set[str]) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(140, 30)) as pilot:
        await listed(pilot, root)
        page(app).query_one(Table).point("b")
        await until(pilot, lambda: "< earlier   > later" in keys(app))
        await pilot.press("less_than_sign", "less_than_sign")
        await until(pilot, lambda: order(root) == ["b", "c", "a"])
        await until(pilot, lambda: "b is next." in notice(app))
        await pilot.press("shift+down")
        await until(pilot, lambda: order(root) == ["c", "b", "a"])
        await pilot.press("t")
        await until(pilot, lambda: order(root) == ["c", "a"])
        await listed(pilot, root)
        page(app).query_one(Table).point("runs")
        await until(pilot, lambda: "queue" not in keys(app))
        page(app).query_one(Table).point("other")
        await until(pilot, lambda: "t queue" in keys(app))
        # What it learns from is not there: refused before it waits.
        await pilot.press("t")
        await until(pilot, lambda: "model" in notice(app))
        assert order(root) == ["c", "a"]


async def test_who_waits_though_nothing_runs_is_said(
    root: Path, waiting: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(paths: SessionPaths, **_: object) -> int:
        started.append(paths.name)
        waiting.add(paths.name)
        return 1

    monkeypatch.setattr(launch, "start_training", start)
    monkeypatch.setattr("tui_lora.store.runs.preflight", lambda *a, **_: ())
    waiting.clear()
    for paths in sessions.listed(root):
        for file in (paths.spec, paths.events):
            if file.exists():
                os.utime(file, (1, 1))
    os.utime(queue_path(root), (1, 1))
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, root)
        assert "c waits, and nothing runs: g starts it" in "\n".join(picture(app))
        await pilot.press("g")
        await until(pilot, lambda: started == ["c"])
        await until(pilot, lambda: "c has started" in notice(app))
        await listed(pilot, root)
        assert "nothing runs" not in "\n".join(picture(app))
        assert sessions.status_of(SessionPaths(root / "c")) is Status.RUNNING


async def test_the_list_follows_the_queue(root: Path, waiting: set[str]) -> None:
    lister = Lister(root)

    def found() -> dict[str, tuple[Status, int | None, str]]:
        return {
            s.name: (s.status, s.turn.place if s.turn else None, s.refused)
            for s in lister.look(lambda first: None)
        }

    assert found()["a"] == (Status.QUEUED, 2, "")
    assert found()["bad"] == (Status.DRAFT, None, "the model is gone.")
    say(root, Queued, "bad", card="1")
    assert found()["bad"] == (Status.QUEUED, 1, "")
    queue_path(root).unlink()
    assert found()["a"] == (Status.DRAFT, None, "")


async def test_the_start_line_knows_what_runs_and_waits_behind_it(
    root: Path, waiting: set[str], monkeypatch: pytest.MonkeyPatch, rows: Path
) -> None:
    # The run would fetch it.
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    app = TuiLora(root, live=False)
    app.set_reactive(TuiLora.draft, Draft("mine", {"model": "nobody/none", "dataset": str(rows)}))
    async with app.run_test(size=(80, 24)) as pilot:
        app.go("settings")
        await until(pilot, lambda: "runs runs: t waits" in "\n".join(picture(app)))
        await pilot.press("t")
        await until(pilot, lambda: app.current_mode == "sessions", 20)
        await until(pilot, lambda: "mine waits for its turn: 3 before it." in notice(app))
    assert order(root) == ["c", "a", "b", "mine"]


async def test_those_that_run_do_not_change_places_as_they_write(
    root: Path, waiting: set[str]
) -> None:
    waiting.add("later")
    later = make_session(root, "later")
    write(later, opening(500), steps(1, 9, 500), start=START + 1e6)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        for name in ("runs", "later", "runs"):
            events = SessionPaths(root / name).events
            os.utime(events, (time.time() + 60, time.time() + 60))
            await listed(pilot, root)
            assert names(app)[:3] == ["later", "runs", "c"]
