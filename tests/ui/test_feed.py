"""The feed: first the ends of a long log, then all of it; and nothing when nothing changed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.recorded import (
    done_session,
    finish,
    loss_at,
    make_session,
    opening,
    step_done,
    steps,
    write,
)
from tests.ui.conftest import until
from tui_lora.core.events import EVENTS
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading, calmed
from tui_lora.core.status import Status
from tui_lora.core.view import RunView
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.feed import Follower, Lister, Outbox
from tui_lora.ui.messages import RunChanged, Said

LONG = 100_000


def go_on() -> bool:
    return True


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> SessionPaths:
    """A run of 100,000 steps; one line is copied, since encoding so many takes seconds."""
    paths = make_session(tmp_path_factory.mktemp("long"), "long")
    count = write(paths, opening(LONG))
    event = step_done(7, LONG).model_copy(update={"t": 1e9, "loss": 0.123456789})
    line = EVENTS.encode(event)
    with paths.events.open("a") as file:
        for step in range(1, LONG + 1):
            file.write(
                line.replace('"step":7', f'"step":{step}')
                .replace('"seq":0', f'"seq":{count + step}')
                .replace("0.123456789", f"{loss_at(step, LONG):.4f}")
            )
    return paths


@pytest.mark.screens
def test_a_long_run_paints_from_its_ends_and_then_whole(
    long_run: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    fold = sessions.fold

    def counting(lines: Iterable[bytes], view: RunView) -> RunView:
        lines = list(lines)
        read.append(sum(len(line) for line in lines))
        return fold(lines, view)

    monkeypatch.setattr(sessions, "fold", counting)
    follower = Follower(long_run)
    first = follower.glance()
    assert first is not None
    assert sum(read) < 200_000
    assert not first.whole
    assert first.view.step == LONG
    assert first.view.total_steps == LONG
    assert first.view.base_eval is not None
    assert first.spec is not None
    whole = follower.look(go_on)
    assert whole is not None
    assert whole.whole
    assert sum(read) > 10_000_000
    steps_drawn, _ = whole.view.loss.points(100)
    assert steps_drawn[0] < 2000
    assert steps_drawn[-1] > LONG - 2000
    assert whole.view.loss.latest_step == LONG
    assert follower.look(go_on) is None


@pytest.mark.screens
def test_a_long_fold_is_left_when_the_user_turns_away(long_run: SessionPaths) -> None:
    follower = Follower(long_run)
    asked = iter([True, True, False, False])
    assert follower.look(lambda: next(asked)) is None
    resumed = follower.look(go_on)
    assert resumed is not None
    assert resumed.view.loss.latest_step == LONG


def test_a_short_run_needs_no_glance(root: Path) -> None:
    paths = done_session(root, total=30)
    follower = Follower(paths)
    assert follower.glance() is None
    now = follower.look(go_on)
    assert now is not None
    assert now.status is Status.DONE
    assert now.result is not None
    assert now.view.step == 30


def test_what_was_handed_over_stays_as_it_was(root: Path) -> None:
    paths = make_session(root)
    count = write(paths, opening(400), steps(1, 10, 400))
    follower = Follower(paths)
    before = follower.look(go_on)
    write(paths, steps(11, 200, 400), first=count + 1)
    after = follower.look(go_on)
    assert before is not None
    assert after is not None
    assert (before.view.step, before.view.loss.latest_step) == (10, 10)
    assert len(before.view.log) < len(after.view.log)
    assert len(before.view.checkpoint_steps) == 0
    assert (after.view.step, len(after.view.checkpoint_steps)) == (200, 2)


def test_a_torn_line_is_waited_for_and_a_new_log_read_anew(root: Path) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 10, 400))
    follower = Follower(paths)
    follower.look(go_on)
    line = EVENTS.encode(step_done(11, 400))
    with paths.events.open("a") as file:
        file.write(line[:50])
    assert follower.look(go_on) is None
    with paths.events.open("a") as file:
        file.write(line[50:])
    now = follower.look(go_on)
    assert now is not None
    assert now.view.step == 11
    paths.events.write_text("")
    write(paths, opening(400), steps(1, 3, 400))
    now = follower.look(go_on)
    assert now is not None
    assert (now.view.step, len(now.view.loss)) == (3, 3)


def test_the_lock_alone_is_news(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 10, 400))
    monkeypatch.setattr("tui_lora.ui.feed.STATUS_EVERY_S", 0.0)
    monkeypatch.setattr(lock, "holder", lambda path: 4242)
    follower = Follower(paths)
    now = follower.look(go_on)
    assert now is not None
    assert now.status.alive
    assert follower.look(go_on) is None
    monkeypatch.setattr(lock, "holder", lambda path: None)
    now = follower.look(go_on)
    assert now is not None
    assert now.status is Status.INTERRUPTED
    finish(paths, 10, "failed", "no more disk")
    now = follower.look(go_on)
    assert now is not None
    assert now.status is Status.FAILED
    assert now.result is not None
    assert now.result.message == "no more disk"


def test_a_spec_that_cannot_be_read_is_a_problem_not_an_end(root: Path) -> None:
    paths = make_session(root)
    paths.spec.write_text("model: [")
    now = Follower(paths).look(go_on)
    assert now is not None
    assert now.spec is None
    assert "YAML" in now.problem


def test_sessions_are_read_again_only_when_they_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(40):
        make_session(root, f"run-{index:02}")
    read: list[str] = []
    summarize = sessions.summarize
    monkeypatch.setattr(
        sessions,
        "summarize",
        lambda paths, ends: read.append(paths.name) or summarize(paths, ends),
    )
    first: list[int] = []
    lister = Lister(root)
    assert len(lister.look(lambda rows: first.append(len(rows)))) == 40
    assert first == [30]
    assert len(read) == 40
    before = lister.look(lambda rows: first.append(len(rows)))
    assert (len(read), first) == (40, [30])
    write(SessionPaths(root / "run-07"), opening(40), steps(1, 10, 40))
    after = lister.look(lambda rows: None)
    assert read[40:] == ["run-07"]
    assert before != after
    assert after[0].name == "run-07"
    sessions.delete(root, SessionPaths(root / "run-08"))
    assert len(lister.look(lambda rows: None)) == 39


async def test_a_busy_ui_gets_the_newest_only() -> None:
    got: list[str] = []
    outbox = Outbox(
        asyncio.get_running_loop(),
        lambda message: got.append(message.text),  # type: ignore[attr-defined]
    )

    def burst() -> None:
        for index in range(500):
            outbox.put(Said(str(index)))

    thread = threading.Thread(target=burst)
    thread.start()
    thread.join()  # the loop is busy with this
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert got == ["499"]
    outbox.put(Said("later"))
    await asyncio.sleep(0.01)
    assert got == ["499", "later"]


async def test_the_app_follows_a_growing_log(root: Path) -> None:
    paths = make_session(root)
    count = write(paths, opening(400), steps(1, 10, 400))
    app = TuiLora(root, session=paths)
    posts: list[float] = []
    async with app.run_test(
        message_hook=lambda m: posts.append(time.monotonic()) if isinstance(m, RunChanged) else None
    ) as pilot:
        await until(pilot, lambda: app.run_now is not None and app.run_now.view.step == 10)
        await until(pilot, lambda: app.sensors is not None)
        write(paths, steps(11, 20, 400), first=count + 1)
        await until(pilot, lambda: app.run_now is not None and app.run_now.view.step == 20)
        quiet = len(posts)
        await asyncio.sleep(0.6)
        assert len(posts) == quiet
    names = {thread.name for thread in threading.enumerate()}
    await asyncio.sleep(0)
    assert "textual-input" not in names


def test_a_machine_at_rest_gives_the_same_reading() -> None:
    def reading(used: float, load: float, cpu: float) -> SensorReading:
        card = CardReading(0, "u", "T4", 15.0, used, 15.0 - used, load, 60.0, 70.0, 70.0, (), None)
        return SensorReading((card,), MachineReading(31.0, 5.0, cpu, 8), None)

    first = calmed(None, reading(8.00, 50, 3))
    assert calmed(first, reading(8.02, 52, 6)) == first
    assert calmed(first, reading(8.30, 52, 6)).cards[0].used_gib == 8.30
    assert calmed(first, reading(8.00, 90, 3)).cards[0].load_percent == 90
    gone = SensorReading((), MachineReading(31.0, 5.0, 3, 8), "the driver went away")
    assert calmed(first, gone) == gone
