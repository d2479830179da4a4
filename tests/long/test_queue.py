"""A queue of real runs: it goes on after one that ran out of memory and one that failed."""

from __future__ import annotations

import json
import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests import workers
from tests.worker.test_out_of_memory import ROOM_GIB, long_rows, wide_model, wide_spec
from tests.workers import tiny_spec, view_of, where_it_is
from tui_lora.core.events import AttemptFinished, AttemptStarted
from tui_lora.core.status import Status
from tui_lora.store import lock, queue, sessions
from tui_lora.store.queue_file import read_queue

pytestmark = [pytest.mark.long, pytest.mark.model]

__all__ = ["long_rows", "wide_model"]


def test_it_goes_on_after_one_without_memory_and_one_that_failed(
    tmp_path: Path,
    tiny_model: Path,
    wide_model: Path,
    long_rows: Path,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    root = tmp_path / "sessions"
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    specs = {
        "large": wide_spec(wide_model, long_rows),
        "broken": tiny_spec(broken, rows),
        "good": tiny_spec(tiny_model, rows),
    }
    large, failing, good = [sessions.create(root, name, spec) for name, spec in specs.items()]
    # A worker with little memory; those that it lets start have all of it.
    first = workers.start(large, room_gib=ROOM_GIB)
    for paths in (failing, good):
        assert "waits" in queue.put_in(root, paths)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    at_once: set[int] = set()
    deadline = time.monotonic() + 300
    while sessions.read_result(good) is None or lock.holder(good.lock) is not None:
        assert time.monotonic() < deadline, [where_it_is(p) for p in (large, failing, good)]
        assert not read_queue(root).refused
        at_once.add(len(sessions.running(root)))
        time.sleep(0.05)
    assert workers.finish(first) == 3
    assert at_once <= {0, 1}
    found = [sessions.status_of(paths) for paths in (large, failing, good)]
    assert found == [Status.OUT_OF_MEMORY, Status.FAILED, Status.DONE]
    lives = [
        [event.t for event in sessions.events_of(paths, AttemptStarted, AttemptFinished)]
        for paths in (large, failing, good)
    ]
    assert all(earlier[1] < later[0] for earlier, later in pairwise(lives))
    assert good.adapter.joinpath("adapter_model.safetensors").is_file()
    assert any("next in the queue: good" in line.text for line in view_of(failing).log)
