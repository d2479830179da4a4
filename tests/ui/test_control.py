"""The keys that steer a run: what they order, what they ask first, and what is said meanwhile."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.obedient import worker
from tests.recorded import done_session, finish, make_session, opening, steps, write
from tests.ui.conftest import keys, notice, page, picture, run_of, show, until
from tui_lora.core.events import EVENTS, AttemptFinished, HoldChanged, OrderAnswered
from tui_lora.core.orders import ORDERS, ChangeSpec, Order, Stop
from tui_lora.core.status import Status
from tui_lora.store import checkpoints, lock
from tui_lora.store.ladder import Ladder, climb
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import give
from tui_lora.ui.app import TuiLora
from tui_lora.ui.feed import Follower
from tui_lora.ui.screens.extend import ExtendForm
from tui_lora.ui.screens.intervals import IntervalsForm
from tui_lora.ui.screens.question import Question
from tui_lora.ui.state import RunNow
from tui_lora.ui.widgets.line import Line, Lines

pytestmark = pytest.mark.screens


@pytest.fixture
def running(root: Path) -> SessionPaths:
    """At step 250 of 400, its last checkpoint at 200."""
    paths = make_session(root, "live")
    write(paths, opening(400), steps(1, 250, 400), start=time.time() - 400)
    return paths


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "holder", lambda path: 4242)


def checkpoint_of(paths: SessionPaths, step: int = 400) -> None:
    """A whole one, so that it can be branched from."""
    beside = paths.checkpoints / ".saving"
    beside.mkdir(parents=True)
    for name in checkpoints.NEEDED:
        (beside / name).write_text(f"{step}")
    (beside / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    final = paths.checkpoints / checkpoints.folder_name(step)
    checkpoints.seal(beside, final, step=step, tokens_seen=step * 1000)


def orders(paths: SessionPaths) -> list[Order]:
    lines = paths.orders.read_bytes().splitlines() if paths.orders.exists() else []
    return [order for line in lines if (order := ORDERS.decode(line).message) is not None]


def control(app: TuiLora) -> str:
    line = page(app).query_one("#control", Line)
    return line.said.plain if line.display else ""


def asked(paths: SessionPaths, status: Status = Status.RUNNING) -> RunNow:
    """As the feed posts it, with what waits in orders.jsonl."""
    run = run_of(paths, status)
    return replace(run, asked=tuple(o for o in orders(paths) if o.id not in run.view.answers))


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + seconds)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_what_applies_is_in_sight(
    running: SessionPaths, root: Path, size: tuple[int, int]
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        line = "p pause   h hold   s stop   c checkpoint   e extend"
        await until(pilot, lambda: line in keys(app))
        assert "resume" not in keys(app)
        await show(pilot, run_of(running, Status.HOLDING))
        await until(pilot, lambda: "p pause   h go on   s stop" in keys(app))
        finish(running, 250, "paused")
        await show(pilot, run_of(running))
        await until(pilot, lambda: keys(app).strip().startswith("r resume   e extend"))
        assert "pause   " not in keys(app)


@pytest.mark.parametrize(
    ("pressed", "type", "first"),
    [("p", "pause", "p again pauses"), ("s", "stop", "s again stops"), ("h", "hold", "")],
)
async def test_an_order_is_given_and_answered(
    running: SessionPaths, root: Path, held: None, pressed: str, type: str, first: str
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        if first:
            await pilot.press(pressed)
            assert first in notice(app)
            assert not orders(running)
        await pilot.press(pressed)
        await until(pilot, lambda: f"{type}: asked" in notice(app))
        (order,) = orders(running)
        assert order.type == type
        write(running, iter([OrderAnswered(id=order.id, ok=False, message="not now")]))
        await show(pilot, run_of(running, Status.RUNNING))
        assert notice(app) == f"! {type}: not now"


async def test_a_hold_says_since_when_and_that_the_card_stays_full(
    running: SessionPaths, root: Path, held: None
) -> None:
    write(running, iter([HoldChanged(holding=True)]), first=1000, start=time.time() - 500)
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        run = run_of(running, Status.HOLDING)
        await show(pilot, run)
        assert run.view.holding_since is not None
        at = time.strftime("%H:%M:%S", time.localtime(run.view.holding_since))
        assert control(app).startswith(f"‖ holding since {at}   h goes on   all stays loaded")
        assert "‖ holding" in picture(app)[0]
        await pilot.press("h")
        await until(pilot, lambda: orders(running))
        assert [order.type for order in orders(running)] == ["go_on"]


async def test_ending_without_saving_says_what_is_lost(
    running: SessionPaths, root: Path, held: None
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        for answer, given in (("n", 0), ("y", 1)):
            await pilot.press("x")
            await until(pilot, lambda: isinstance(app.screen, Question))
            said = app.screen.query_one("#question", Lines).said
            assert "save nothing?" in said[0].plain
            assert "50 steps, about" in said[1].plain
            assert "of training, since the checkpoint of step 200 are lost." in said[1].plain
            await pilot.press(answer)
            await until(pilot, lambda given=given: len(orders(running)) == given)
        assert orders(running)[0].type == "discard"


async def test_an_order_of_another_viewer_is_seen_and_not_given_twice(
    running: SessionPaths, root: Path, held: None
) -> None:
    follower = Follower(running)
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        before = follower.look(lambda: True)
        assert before is not None
        await show(pilot, before)
        assert control(app) == ""
        order = give(running, Stop)
        seen = follower.look(lambda: True)
        assert seen is not None
        assert seen.asked == (order,)
        await show(pilot, seen)
        assert control(app).startswith("■ stop asked elsewhere 0 s ago   in ")
        assert "s terminates it (SIGTERM)" in control(app)
        assert "a step takes about" in control(app)
        await pilot.press("s")
        assert "stop was asked in another viewer" in notice(app)
        await pilot.press("s")
        assert len(orders(running)) == 1
        # A pause takes a stop's place, and is asked for as ever.
        await pilot.press("p", "p")
        await until(pilot, lambda: len(orders(running)) == 2)


async def test_the_ladder_waits_for_the_key_and_asks_before_it_kills(
    running: SessionPaths, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = TuiLora(root, session=running, live=False)
    with worker(running, deaf=True) as process:
        async with app.run_test(size=(80, 24)) as pilot:
            give(running, Stop)
            await show(pilot, asked(running))
            assert "s terminates it (SIGTERM)" in control(app)
            later(monkeypatch, 31)
            await show(pilot, asked(running))
            assert "31 s ago   s terminates it (SIGTERM)" in control(app)
            await pilot.press("s")
            await until(pilot, lambda: "SIGTERM was sent" in notice(app))
            await until(pilot, lambda: "■ SIGTERM sent" in control(app))
            assert "s kills it (SIGKILL)" in control(app)
            await pilot.press("s")
            assert "asked elsewhere" not in control(app)
            assert not isinstance(app.screen, Question)
            later(monkeypatch, 31)
            await pilot.press("s")
            await until(pilot, lambda: isinstance(app.screen, Question))
            assert "are lost." in app.screen.query_one("#question", Lines).said[1].plain
            assert process.poll() is None
            await pilot.press("y")
            await until(pilot, lambda: process.poll() is not None)
            assert process.poll() == -signal.SIGKILL
            await until(pilot, lambda: "SIGKILL was sent" in notice(app))
            await show(pilot, run_of(running))
            assert control(app) == ""
            assert "! interrupted" in "\n".join(picture(app))


async def extending(pilot: Pilot[None]) -> list[str]:
    await pilot.press("e")
    await until(pilot, lambda: isinstance(pilot.app.screen, ExtendForm))
    await pilot.pause()
    return picture(pilot.app)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_extending_shows_the_rate_before_it_is_done(
    running: SessionPaths, root: Path, held: None, size: tuple[int, int]
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        rows = "\n".join(await extending(pilot))
        assert "live has 400 steps, 3 epochs; it is at step 250" in rows
        assert "532" in rows  # four epochs
        assert "6.51e-5 now, 0 at 400" in rows
        assert "now, 0 at 532" in rows
        assert "cosine is stretched over 532 steps" in " ".join(rows.split())
        assert "▲ step 250" in rows or "step 250 ▲" in rows
        await pilot.press("down", *"1000")
        await until(pilot, lambda: "over 1,000 steps" in " ".join("".join(picture(app)).split()))
        await pilot.press("enter")
        await until(pilot, lambda: orders(running))
        (order,) = orders(running)
        assert isinstance(order, ChangeSpec)


async def test_what_is_no_longer_cannot_be_taken(
    running: SessionPaths, root: Path, held: None
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        await extending(pilot)
        await pilot.press("ctrl+u", "ctrl+k", "2")
        await until(pilot, lambda: "no longer than the run is" in "\n".join(picture(app)))
        await pilot.press("enter")
        assert isinstance(app.screen, ExtendForm)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ExtendForm))
        assert not orders(running)


async def test_a_finished_run_is_resumed_longer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []

    def resume(paths: SessionPaths, *, changes: Any = None, **_: Any) -> None:
        started.append(dict(changes))

    monkeypatch.setattr("tui_lora.store.runs.resume", resume)
    paths = done_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths))
        await until(pilot, lambda: "e extend" in keys(app))
        rows = "\n".join(await extending(pilot))
        assert "it goes on from step 400" in rows
        assert "Its adapter is replaced" in rows
        await pilot.press("enter")
        await until(pilot, lambda: started)
        assert started == [{"training.epochs": 4.0}]


async def test_intervals_change_while_it_runs(
    running: SessionPaths, root: Path, held: None
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, IntervalsForm))
        await pilot.press("enter", *"10", "enter", "down", "down")
        await until(pilot, lambda: "a applies 1 change" in "\n".join(picture(app)))
        await pilot.press("enter", *"0", "enter")
        await pilot.pause()
        assert isinstance(app.screen, IntervalsForm)
        await pilot.press("escape", "a")
        await until(pilot, lambda: orders(running))
        (order,) = orders(running)
        assert isinstance(order, ChangeSpec)
        assert order.changes == {"evaluation.log_every_steps": 10}


async def test_a_paused_run_says_what_is_free(running: SessionPaths, root: Path) -> None:
    finish(running, 250, "paused")
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running))
        said = "\n".join(row.plain for row in page(app).query_one("#verdict", Lines).said)
        assert "GiB of memory are free again." in said
        assert "r resumes from step 200" in said


def test_the_feed_forgets_orders_that_are_answered(running: SessionPaths, held: None) -> None:
    follower = Follower(running)
    order = give(running, Stop)
    run = follower.look(lambda: True)
    assert run is not None
    assert run.asked == (order,)
    with running.events.open("a") as file:
        file.write(EVENTS.encode(OrderAnswered(id=order.id, ok=True, message="stopped", seq=999)))
    run = follower.look(lambda: True)
    assert run is not None
    assert run.asked == ()


async def test_a_signal_of_another_viewer_is_seen_and_not_sent_twice(
    running: SessionPaths, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = TuiLora(root, session=running, live=False)
    with worker(running, deaf=True) as process:
        async with app.run_test(size=(120, 40)) as pilot:
            follower = Follower(running)
            order = give(running, Stop)
            seen = follower.look(lambda: True)
            assert seen is not None
            await show(pilot, seen)
            climb(running, Ladder(order, order.t), time.time())
            seen = follower.look(lambda: True)
            assert seen is not None
            assert [sent.name for sent in seen.signals] == ["SIGTERM"]
            await show(pilot, seen)
            assert control(app).startswith("■ SIGTERM sent elsewhere 0 s ago   in 30 s: s kills it")
            await pilot.press("s")
            assert "SIGTERM was sent from another viewer" in notice(app)
            later(monkeypatch, 31)
            await pilot.press("s")
            await until(pilot, lambda: isinstance(app.screen, Question))
            assert process.poll() is None


@pytest.mark.parametrize("size", [(60, 16), (60, 20), (80, 24)])
@pytest.mark.parametrize(
    ("key", "words"), [("e", "Enter goes on with it"), ("k", "b branches"), ("kb", "Enter edits")]
)
async def test_a_small_terminal_keeps_the_keys_of_a_panel(
    root: Path, key: str, words: str, size: tuple[int, int]
) -> None:
    paths = done_session(root)
    checkpoint_of(paths)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(paths))
        for one in key:
            await pilot.press(one)
            await pilot.pause()
            await until(pilot, lambda: "reading" not in "\n".join(picture(app)))
        await until(pilot, lambda: words in "\n".join(picture(app)[-3:]))


async def test_a_worker_that_is_quiet_is_explained(
    running: SessionPaths, root: Path, held: None
) -> None:
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        quiet = replace(run_of(running, Status.QUIET), why_quiet="Its process is stopped [x].")
        await show(pilot, quiet)
        said = [row.plain for row in page(app).query_one("#verdict", Lines).said]
        assert said[1] == "Its process is stopped [x]."
        assert said[2].startswith("s asks it to stop; where it does not listen")
        give(running, Stop)
        await show(pilot, replace(asked(running, Status.QUIET), why_quiet=""))
        assert len(page(app).query_one("#verdict", Lines).said) == 1


async def test_a_run_that_has_said_its_last_word_is_ending(
    running: SessionPaths, root: Path
) -> None:
    said = AttemptFinished(attempt=1, verdict="stopped", message="as you asked")
    write(running, iter([said]), first=1000, start=time.time())
    app = TuiLora(root, session=running, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(running, Status.RUNNING))
        assert "● ending   step 250/400" in picture(app)[2]
