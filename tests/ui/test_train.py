"""The Train screen on recorded runs: what it shows, and what its keys ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Static

from tests.recorded import done_session, finish, make_session, opening, steps, write
from tests.ui.conftest import keys, notice, page, picture, run_of, show, until
from tui_lora.core.events import EVENTS, Notice, OrderAnswered, PhaseStarted
from tui_lora.core.orders import ORDERS
from tui_lora.core.status import Status
from tui_lora.store import lock
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SessionChosen
from tui_lora.ui.widgets.line import Block, Line, Lines
from tui_lora.ui.widgets.loss_plot import LossPlot

HOSTILE = "[/INST] [@click=app.quit]x[/] \x1b[31mred\x1b]0;title\x07 [bold"
HARMLESS = "[/INST] [@click=app.quit]x[/] [31mred]0;title [bold"


@pytest.fixture
def running(root: Path) -> SessionPaths:
    paths = make_session(root, "live")
    write(paths, opening(400), steps(1, 250, 400))
    return paths


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "holder", lambda path: 4242)


def text(app: TuiLora, selector: str) -> str:
    widget = page(app).query_one(selector)
    if isinstance(widget, Line):
        return widget.said.plain
    assert isinstance(widget, (Lines, Block))
    return "\n".join(row.plain for row in widget.said)


async def test_no_session_says_which_key_begins(root: Path) -> None:
    app = TuiLora(root, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert "No session is chosen" in shown
        assert "1   choose a session" in shown
        await until(pilot, lambda: "checkpoint" not in keys(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16), (200, 60)])
async def test_a_run_fits_its_terminal(
    running: SessionPaths, root: Path, size: tuple[int, int]
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        await until(pilot, lambda: "◆" in "\n".join(picture(app)) or size[1] < 20)
        rows = picture(app)
        assert len(rows) == size[1]
        assert all(len(row) <= size[0] for row in rows)
        assert "Train" in rows[0]
        assert "live" in rows[0]
        assert "● training" in rows[2]
        assert "250" in rows[2]
        assert "62%" in rows[2]
        assert "leave" in rows[-1]
        shown = "\n".join(rows)
        assert "train" in shown
        assert "held-out" in shown
        assert "tokens/s" in shown
        assert "process memory" in shown
        wide = size[0] >= 110
        assert page(app).query_one("#numbers").display is wide
        assert page(app).query_one("#short").display is not wide


async def test_the_same_facts_cost_no_ink(
    running: SessionPaths, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        await until(pilot, lambda: page(app).query_one(LossPlot)._drawn is not None)
        drawn: list[object] = []
        monkeypatch.setattr(Static, "update", lambda self, *a, **k: drawn.append(self))
        before = page(app).query_one(LossPlot)._drawn
        await show(pilot, run_of(running, Status.RUNNING))
        page(app).query_one(LossPlot)._draw()
        assert drawn == []
        assert page(app).query_one(LossPlot)._drawn is before


async def test_loading_says_what_and_how_long(root: Path) -> None:
    paths = make_session(root, "live")
    write(paths, opening(400))
    write(paths, iter([PhaseStarted(name="w", label="model weights", expect_s=1e9)]))
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "reading live" in text(app, "#state")
        await show(pilot, run_of(paths, Status.RUNNING))
        assert "● loading   model weights" in text(app, "#state")
        assert "of about" in text(app, "#state")


async def test_stop_asks_once_and_gives_an_order(
    running: SessionPaths, root: Path, held: None
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        run = run_of(running, Status.RUNNING)
        await show(pilot, run)
        await until(pilot, lambda: "s stop   c checkpoint" in keys(app))
        await until(pilot, lambda: "resume" not in keys(app))
        await until(pilot, lambda: "run goes on" in keys(app))
        await pilot.press("s")
        assert "s again stops" in notice(app)
        assert not running.orders.exists()
        await pilot.press("s")
        await until(pilot, lambda: "asked" in notice(app))
        order = ORDERS.decode(running.orders.read_bytes().splitlines()[0]).message
        assert order is not None
        assert order.type == "stop"
        answer = OrderAnswered(id=order.id, ok=True, message="stopping after step 251")
        write(running, iter([answer]))
        await show(pilot, run_of(running, Status.RUNNING))
        assert notice(app) == "✓ stopping after step 251"


async def test_checkpoint_is_ordered_and_refused_when_nobody_listens(
    running: SessionPaths, root: Path
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        await pilot.press("c")
        await until(pilot, lambda: "is not running" in notice(app))
        assert notice(app).startswith("✗")


async def test_resume_starts_the_worker(
    running: SessionPaths, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[SessionPaths] = []
    monkeypatch.setattr("tui_lora.store.runs.resume", lambda paths, **_: started.append(paths))
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(running, Status.INTERRUPTED))
        assert "! interrupted" in text(app, "#state")
        assert "resumes from step 200" in text(app, "#verdict")
        assert str(running.log) in text(app, "#verdict")
        await until(pilot, lambda: "r resume" in keys(app))
        await pilot.press("r")
        await until(pilot, lambda: "is running" in notice(app))
        assert started == [running]


async def test_a_finished_run_says_what_came_of_it(root: Path) -> None:
    paths = done_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths))
        assert "✓ done" in text(app, "#state")
        assert "held-out perplexity 23.1 → 3." in text(app, "#verdict")
        await until(pilot, lambda: "r resume" not in keys(app))
        await until(pilot, lambda: "goes on" not in keys(app))


@pytest.mark.parametrize("verdict", ["failed", "out_of_memory"])
async def test_a_failed_run_says_why_and_where_to_look(root: Path, verdict: str) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 5, 400))
    finish(paths, 5, verdict, f"{HOSTILE}\nLower the micro-batch.")  # type: ignore[arg-type]
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths))
        assert verdict.replace("_", " ") in text(app, "#state")
        said = text(app, "#verdict")
        assert HARMLESS in said
        assert "Lower the micro-batch." in said
        assert "worker.log" in said


async def test_text_from_outside_stays_text(running: SessionPaths, root: Path) -> None:
    lines = [Notice(level="warning", text=HOSTILE), PhaseStarted(name="x", label=HOSTILE)]
    write(running, iter(lines))
    with running.events.open("a") as file:
        file.write(EVENTS.encode(Notice(level="error", text="next\nline")))
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert f"! {HARMLESS}" in shown
        assert "✗ next⏎line" in shown
        assert "\x1b" not in shown
        app.say(HOSTILE)
        await pilot.pause()
        assert notice(app) == HARMLESS


async def test_log_and_curve_take_turns(running: SessionPaths, root: Path) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        assert len(text(app, "#log-lines").splitlines()) <= 12
        await pilot.press("l")
        await pilot.pause()
        assert not page(app).query_one("#middle").display
        assert page(app).query_one("#log").size.height > 8
        await pilot.press("l")
        await pilot.pause()
        assert page(app).query_one("#middle").display


async def test_the_log_in_full_cuts_nothing(running: SessionPaths, root: Path) -> None:
    words = "the queue waits, since a run that is paused wants its card back: `queue start` goes on"
    write(running, iter([Notice(level="warning", text=words)]), first=9000)
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(60, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        assert "goes on" not in text(app, "#log-lines").splitlines()[0][:60]
        await pilot.press("l")
        await until(pilot, lambda: "goes on" in "\n".join(picture(app)))
        assert words in " ".join("\n".join(picture(app)).split())


async def test_log_scale_and_another_session(running: SessionPaths, root: Path) -> None:
    other = done_session(root, "other", 50)
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        plot = page(app).query_one(LossPlot)
        await until(pilot, lambda: plot._drawn is not None)
        await pilot.press("y")
        assert plot.log_scale
        await until(pilot, lambda: "log scale" in text(app, "#legend"))
        app.on_session_chosen(_chosen(other))
        await pilot.pause()
        assert "reading other" in text(app, "#state")
        await show(pilot, run_of(other))
        assert "50 of 50" in text(app, "#state")
        app.on_session_chosen(_chosen(None))
        await pilot.pause()
        assert "No session is chosen" in "\n".join(picture(app))


def _chosen(paths: SessionPaths | None) -> SessionChosen:
    return SessionChosen(paths)
