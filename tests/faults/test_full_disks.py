"""A disk without room in the log, a checkpoint and the final save: the run goes on, or ends with a
word, and what was whole stays so. On a real small disk where one can be mounted, and everywhere by
a limit on the size of files."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import workers
from tests.faults.blows import SmallDisk, SmallFiles, small_disk
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.events import CheckpointSaved, StepDone
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.checkpoints import checkpoints, damage
from tui_lora.store.journal import Appender, Tail, append_line
from tui_lora.store.paths import SessionPaths

DISK_KIB = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_KIB) as found:
        if found is None:
            pytest.skip("no disk can be mounted here: see the tests with a limit on files instead")
        yield found


def all_whole(paths: SessionPaths) -> list[int]:
    found = checkpoints(paths.checkpoints)
    assert [damage(checkpoint.folder) for checkpoint in found] == [None] * len(found)
    return [checkpoint.step for checkpoint in found]


@pytest.mark.parametrize("room", range(8))
def test_a_line_that_found_no_room_spoils_no_other(disk: SmallDisk, room: int) -> None:
    """However much of it the disk took: none, a part, all but its end."""
    file = disk.folder / "events.jsonl"
    log = Appender(file)
    while file.stat().st_size < 4096 - room:
        assert log.append("a" * min(99, 4095 - room - file.stat().st_size) + "\n")
    disk.fill()
    whole = Tail(file).read()
    assert log.append("b" * 6 + "\n") == (room >= 7)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        append_line(file, "c" * 9 + "\n")
    disk.empty()
    assert log.append("d\n")
    append_line(file, "e\n")
    log.close()
    lines = Tail(file).read()
    assert lines[: len(whole)] == whole
    assert lines[-2:] == [b"d", b"e"]
    assert all(set(line) <= set(b"b") or set(line) <= set(b"c") for line in lines[len(whole) : -2])


@pytest.mark.model
def test_the_run_goes_on_when_there_is_room_again(
    disk: SmallDisk, tiny_model: Path, rows: Path
) -> None:
    every = 10
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=100_000, dataset__eval_share=0,
        evaluation__save_every_steps=every, evaluation__keep=2,
    )  # fmt: skip
    paths = sessions.create(disk.folder, "run", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: len(view.checkpoint_steps) >= 2)
        disk.fill()
        before = all_whole(paths)
        size = paths.events.stat().st_size
        # It trains on: what it cannot write down, its time on the processor tells.
        spent = cpu_s(worker.pid)
        wait_until(lambda: cpu_s(worker.pid) > spent + 1.5 or not worker.is_alive())
        assert worker.is_alive()
        assert sessions.status_of(paths).alive
        assert all_whole(paths)[0] >= before[0]
        assert paths.events.stat().st_size <= size + 4096
        disk.empty()
        view = wait_for(paths, lambda view: view.checkpoint_steps[-1:] > [before[-1] + every])
        assert view.attempt == 1
        told = [line.text for line in view.log if line.level in ("warning", "error")]
        assert any(text.startswith("no checkpoint at step ") for text in told), told
        assert any("could not be written" in text for text in told), told
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    assert sessions.status_of(paths) is Status.STOPPED
    assert len(all_whole(paths)) == 2


@pytest.mark.model
def test_a_full_disk_at_the_end_keeps_what_was_whole(
    disk: SmallDisk, tiny_model: Path, rows: Path
) -> None:
    """The adapter finds no room: the run says so, and its checkpoint makes it once there is."""
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=100_000, dataset__eval_share=0,
        evaluation__save_every_steps=50, evaluation__keep=2,
    )  # fmt: skip
    paths = sessions.create(disk.folder, "run", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.checkpoint is not None)
        sessions.order_stop(paths)
        disk.fill()
        assert workers.finish(worker) == 1
    assert not paths.adapter.exists()
    kept = all_whole(paths)
    assert kept
    assert not sessions.status_of(paths).alive
    assert sessions.status_of(paths).resumable
    assert "No space left" in paths.log.read_text() + str(sessions.read_result(paths))
    disk.empty()
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.attempt == 2 and view.last_step is not None)
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    assert view_of(paths).resumed_from == kept[-1]
    assert (paths.adapter / "adapter_model.safetensors").is_file()


def cpu_s(pid: int | None) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.model
@pytest.mark.parametrize("part", ["log", "checkpoint and final save"])
def test_files_that_may_not_grow(tmp_path: Path, tiny_model: Path, rows: Path, part: str) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=4, dataset__eval_share=0,
        evaluation__save_every_steps=2, evaluation__keep=2,
    )  # fmt: skip
    paths = sessions.create(tmp_path, "run", spec)
    whole = sessions.create(tmp_path, "whole", spec)
    assert workers.train(whole) == 0
    if part == "log":
        # The log is full from the start; all else is smaller than it.
        most = 4 << 20
        paths.events.write_bytes(b"{}\n" * (most // 3) + b"\n")
        assert workers.finish(workers.start(paths, first=SmallFiles(most + 1))) == 0
        assert all_whole(paths) == [2, 4]
        assert list(sessions.events_of(paths, StepDone)) == []
        assert sessions.read_result(paths).verdict == "done"  # type: ignore[union-attr]
    else:
        most = (whole.adapter / "adapter_model.safetensors").stat().st_size - 1
        assert workers.finish(workers.start(paths, first=SmallFiles(most))) == 1
        assert not paths.adapter.exists()
        assert all_whole(paths) == []
        assert list(sessions.events_of(paths, CheckpointSaved)) == []
        assert view_of(paths).step == 4
        result = sessions.read_result(paths)
        assert result is not None
        assert result.verdict == "failed"
        assert "File too large" in result.message
        assert sessions.status_of(paths) is Status.FAILED
        # Nothing half-written takes room any more.
        assert [path for path in paths.folder.rglob(".*") if path.is_file()] == []
        assert workers.train(paths) == 0
        assert (paths.adapter / "adapter_model.safetensors").read_bytes() == (
            whole.adapter / "adapter_model.safetensors"
        ).read_bytes()
