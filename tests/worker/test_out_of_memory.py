"""Memory runs out for real: on the CPU, of a worker that may have no more than so much."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests import workers
from tests.kinds import kind_of, make_model
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.events import AttemptFinished, AttemptStarted, MemoryRanOut, SpecChanged
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_file import read_spec

pytestmark = pytest.mark.model

WIDTH = 1 << 16
"""A row of 250 tokens holds 60 MiB in each activation as wide as this."""

ROOM_GIB = 1.15
"""Four rows take 1.5 GiB beside what an idle worker has, two take 0.85."""


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of hardly any weights, whose rows take much room."""
    kind = kind_of("llama")
    wide = {"hidden_size": 32, "intermediate_size": WIDTH, "num_hidden_layers": 1}
    wider = replace(kind, config={**kind.config, **wide})
    return make_model(wider, tmp_path_factory.mktemp("wide") / "model")


@pytest.fixture
def long_rows(tmp_path: Path) -> Path:
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        for i in range(32):
            row = {"prompt": f"Run {i}? " + "why so? " * 36, "completion": f"The rank is {i}."}
            file.write(json.dumps(row) + "\n")
    return path


def wide_spec(model: Path, rows: Path, **changes: object) -> RunSpec:
    settings = {
        "training__micro_batch": 4,
        "training__accumulation": 1,
        "training__max_steps": 1,
        "training__warmup": 0,
        "training__max_length": 256,
        "dataset__eval_share": 0,
        "lora__dropout": 0.0,
        "lora__target_modules": "attention",
        "evaluation__save_every_steps": 1,
    }
    return tiny_spec(model, rows, **{**settings, **changes})


def test_the_run_ends_and_says_where_the_memory_went(
    tmp_path: Path, wide_model: Path, long_rows: Path
) -> None:
    paths = sessions.create(tmp_path / "sessions", "short", wide_spec(wide_model, long_rows))
    assert workers.train(paths, room_gib=ROOM_GIB) == 3, paths.log.read_text()[-2000:]
    assert sessions.status_of(paths) is Status.OUT_OF_MEMORY
    view = view_of(paths)
    event = view.ran_out
    assert event is not None
    assert event.phase in ("forward", "backward")
    assert (event.step, event.rows, event.device) == (1, 4, "cpu")
    assert event.tokens is not None
    assert event.longest_row_tokens == event.tokens <= 256
    assert event.asked_gib is not None
    assert event.free_gib is not None
    assert event.free_gib < event.asked_gib
    held = {holder.name: holder.gib for holder in event.held}
    # Three matrices as wide as that, and a small one; in float32.
    assert held["weights"] == pytest.approx(3 * 32 * WIDTH * 4 / 2**30, rel=0.1)
    assert held["activations, data and libraries"] > 1
    assert "ulimit" in event.message
    assert view.spec_changes == {}
    assert view.verdict == "out_of_memory"
    for words in ("step 1", "asked for", "micro-batch 2"):
        assert words in view.verdict_message
    assert "No retry" not in view.verdict_message
    (begins,) = [line.text for line in view.log if "begins with the 4 longest rows" in line.text]
    assert begins.endswith("GiB come on top: the optimizer's state")


class Watched:
    """What a viewer sees of a session all the while: who holds its lock, and its status."""

    def __init__(self, paths: SessionPaths) -> None:
        self._paths = paths
        self._done = threading.Event()
        self.holders: set[int | None] = set()
        self.statuses: set[Status] = set()
        self.results = 0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.holders.add(lock.holder(self._paths.lock))
            self.statuses.add(sessions.status_of(self._paths))
            self.results += self._paths.result.exists()


def test_a_retry_goes_on_as_the_same_process_with_half_the_micro_batch(
    tmp_path: Path, wide_model: Path, long_rows: Path
) -> None:
    spec = wide_spec(wide_model, long_rows, hardware__on_oom="retry")
    paths = sessions.create(tmp_path / "sessions", "again", spec)
    worker = workers.start(paths, room_gib=ROOM_GIB)
    with Watched(paths) as watched:
        wait_for(paths, lambda view: view.attempt == 2)
        # The new process image is not yet done with its imports.
        assert workers.train(paths) == 2
        wait_for(paths, lambda view: view.step >= 1, timeout_s=300)
    assert watched.holders == {worker.pid}
    assert watched.statuses == {Status.RUNNING}
    assert watched.results == 0
    assert workers.finish(worker, timeout_s=300) == 0, paths.log.read_text()[-2000:]

    view = view_of(paths)
    assert (view.verdict, view.step, view.attempt, view.pid) == ("done", 1, 2, worker.pid)
    assert view.unreadable == 0
    kinds = (AttemptStarted, MemoryRanOut, SpecChanged, AttemptFinished)
    happened = [event.type for event in sessions.events_of(paths, *kinds)]
    assert happened == [
        "attempt_started", "memory_ran_out", "attempt_started", "spec_changed", "attempt_finished"
    ]  # fmt: skip
    halved = {"training.micro_batch": 2, "training.accumulation": 2}
    assert view.spec_changes == halved
    assert any("micro-batch 2, accumulation 2 (retry 1 of 3)" in line.text for line in view.log)
    assert read_spec(paths.spec).training.micro_batch == 4
    assert view.plan is not None
    assert (view.plan.rows_per_step, view.plan.total_steps) == (4, 1)


@pytest.mark.long
def test_three_times_at_most(tmp_path: Path, wide_model: Path, long_rows: Path) -> None:
    """From 16 rows over 8 and 4 to 2, which do not fit either; the fourth time it ends."""
    spec = wide_spec(wide_model, long_rows, hardware__on_oom="retry", training__micro_batch=16)
    paths = sessions.create(tmp_path / "sessions", "thrice", spec)
    worker = workers.start(paths, room_gib=0.6)
    assert workers.finish(worker, timeout_s=600) == 3
    view = view_of(paths)
    assert (view.attempt, view.verdict) == (4, "out_of_memory")
    assert view.spec_changes == {"training.micro_batch": 2, "training.accumulation": 8}
    assert view.ran_out is not None
    assert view.ran_out.rows == 2
    assert "halved 3 times already" in view.verdict_message
