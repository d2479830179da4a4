"""A worker killed at any moment: it goes on from its last whole checkpoint and ends where an
unbroken run ends, bit for bit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import workers
from tests.faults.blows import DieAtName, DieAtWrite, EveryStep
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.checkpoints import checkpoints, damage
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sudden_end import why_it_ended

pytestmark = pytest.mark.model

Create = Callable[[str], SessionPaths]


@pytest.fixture(scope="module")
def spec(tiny_model: Path, rows: Path) -> RunSpec:
    return tiny_spec(
        tiny_model, rows, training__max_steps=4, dataset__eval_share=0,
        evaluation__save_every_steps=2, evaluation__keep=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> bytes:
    """The weights of the run that nothing befalls."""
    paths = sessions.create(tmp_path_factory.mktemp("whole"), "whole", spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    return weights(paths)


def weights(paths: SessionPaths) -> bytes:
    return (paths.adapter / "adapter_model.safetensors").read_bytes()


def check_log(paths: SessionPaths) -> None:
    """Every event is there once, in order, and at most the torn end of each attempt is lost."""
    view = view_of(paths)
    steps = [bucket.first for bucket in view.loss.buckets]
    assert steps == sorted(set(steps))
    assert view.unreadable < (view.attempt or 1)
    numbers = [event.seq for event in sessions.events_of(paths, *sessions.EVENTS.types)]
    assert numbers == list(range(1, len(numbers) + 1))


def nothing_left_over(paths: SessionPaths) -> None:
    hidden = [path for path in paths.folder.rglob(".*") if path.is_file() or any(path.iterdir())]
    assert [path.name for path in hidden] == []
    for checkpoint in checkpoints(paths.checkpoints):
        assert damage(checkpoint.folder) is None


@pytest.mark.parametrize(
    ("blow", "saved", "why"),
    [
        (DieAtName("step-000004"), 2, "killed (SIGKILL)"),
        (DieAtName("adapter"), 4, "killed (SIGKILL)"),
        (DieAtName("result.json"), 4, "Its log says that it ended"),
    ],
    ids=["during a checkpoint", "during the final save", "before its last word"],
)
def test_killed_while_it_saves(
    tmp_path: Path, spec: RunSpec, unbroken: bytes, blow: DieAtName, saved: int, why: str
) -> None:
    paths = sessions.create(tmp_path, "run", spec)
    assert workers.finish(workers.start(paths, first=blow)) == -9
    assert sessions.status_of(paths) is Status.INTERRUPTED
    assert why in why_it_ended(paths)
    assert checkpoints(paths.checkpoints)[-1].step == saved
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    assert view_of(paths).resumed_from == saved
    assert sessions.status_of(paths) is Status.DONE
    assert weights(paths) == unbroken
    nothing_left_over(paths)
    check_log(paths)


@pytest.mark.long
def test_killed_at_each_of_its_writes(tmp_path: Path, spec: RunSpec, unbroken: bytes) -> None:
    """One after the other, until the run comes through without having made so many."""
    nth = 0
    while True:
        nth += 1
        paths = sessions.create(tmp_path, f"run-{nth}", spec)
        code = workers.finish(workers.start(paths, first=DieAtWrite(str(paths.folder), nth)))
        if code == 0:
            break
        assert code == -9, paths.log.read_text()[-2000:]
        if sessions.status_of(paths) is not Status.DONE:
            assert workers.train(paths) == 0, f"write {nth}: {paths.log.read_text()[-2000:]}"
        assert sessions.status_of(paths) is Status.DONE, nth
        assert weights(paths) == unbroken, nth
        nothing_left_over(paths)
        check_log(paths)
    print(f"killed before each of {nth - 1} writes")
    assert nth > 20


@pytest.mark.long
def test_killed_at_a_hundred_random_moments(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    """While loading, in a step, an evaluation, a save; what is lost stays within the interval."""
    every, kills = 10, 100
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2000, evaluation__every_steps=50,
        evaluation__save_every_steps=every,
    )  # fmt: skip
    whole = sessions.create(tmp_path, "whole", spec)
    assert workers.train(whole) == 0
    paths = sessions.create(tmp_path, "run", spec)
    draw = random.Random(0)
    lost: list[int] = []
    for kill in range(kills):
        # One that was killed before its first word leaves its number to the next.
        attempt = sessions.last_attempt(paths) + 1
        worker = workers.start(paths, first=EveryStep())
        if kill % 5 == 0:
            # While it loads, of which one does not know how long it takes.
            time.sleep(draw.uniform(0, 1.0))
        else:
            at = draw.randrange(12)
            wait_for(
                paths,
                lambda view, worker=worker, attempt=attempt, at=at: (
                    (
                        view.attempt == attempt
                        and view.last_step is not None
                        and view.step >= (view.resumed_from or 0) + at
                    )
                    or not worker.is_alive()
                ),
            )
            time.sleep(draw.uniform(0, 0.05))
        assert worker.is_alive(), paths.log.read_text()[-2000:]
        workers.kill(worker)
        assert sessions.status_of(paths) is Status.INTERRUPTED
        newest = checkpoints(paths.checkpoints)
        reached = view_of(paths).step
        lost.append(reached - (newest[-1].step if newest else 0))
    print(f"{kills} kills, the last at step {reached}; steps lost: {sorted(lost)}")
    # A save that was killed costs its checkpoint: then the whole interval is lost, and no more.
    assert min(lost) >= 0
    assert every / 2 < max(lost) <= every
    assert workers.train(paths) == 0
    assert weights(paths) == weights(whole)
    nothing_left_over(paths)
    check_log(paths)
