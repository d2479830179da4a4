"""The kernel kills a worker for want of memory, and a library crashes: said for what it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import workers
from tests.faults.blows import JoinGroup
from tests.recorded import make_session, opening, steps, write
from tests.ui.conftest import picture, until
from tests.workers import tiny_spec
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.sudden_end import MACHINE, boot_id, why_it_ended
from tui_lora.ui.app import TuiLora

LIMIT_MIB = 24


def own_group() -> Path | None:
    """A control group of this process's own in which others can be made; version 1 or 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            base = Path("/sys/fs/cgroup", *(["memory"] if controllers else []))
            folder = base / place.strip("/")
            limit = "memory.limit_in_bytes" if controllers else "memory.max"
            if (folder / limit).is_file() and os.access(folder, os.W_OK):
                return folder
    return None


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that may have little memory."""
    above = own_group()
    if above is None:
        pytest.skip(
            "no control group can be made here: tests/store/test_sudden_end.py has the sums"
        )
    folder = above / f"tui-lora-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        limits = [folder / name for name in ("memory.limit_in_bytes", "memory.max")]
        for limit in limits:
            if limit.is_file():
                limit.write_text(str(LIMIT_MIB << 20))
        with contextlib.suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
        if not any(limit.is_file() for limit in limits):
            pytest.skip("the groups made here have no limit of memory")
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.model
def test_a_worker_that_the_kernel_killed_for_memory(
    group: Path, tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    paths = sessions.create(tmp_path, "run", tiny_spec(tiny_model, rows))
    worker = workers.start(paths, first=JoinGroup(str(group)))
    assert workers.finish(worker) == -signal.SIGKILL
    assert sessions.status_of(paths) is Status.INTERRUPTED
    counted = json.loads(paths.worker.read_text())["kernel_kills"]
    assert any(name.startswith(str(group)) for name in counted)
    assert why_it_ended(paths) == (
        "The kernel killed it: out of memory (its group had 0 such kills when it began, 1 now)."
    )
    watched = subprocess.run(
        [sys.executable, "-m", "tui_lora.cli", "--sessions", str(tmp_path), "watch", "run"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert watched.returncode == 1
    assert "The kernel killed it: out of memory" in watched.stdout


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGBUS, "It crashed: Bus error. Most often /dev/shm"),
        (signal.SIGSEGV, "It crashed: Segmentation fault."),
    ],
)
def test_a_crash_of_a_library_leaves_its_name(
    tmp_path: Path, number: signal.Signals, words: str
) -> None:
    """A bus error is what a full /dev/shm is answered with."""
    paths = make_session(tmp_path)
    write(paths, opening(400), steps(1, 9, 400))
    worker = "import os, sys; from tui_lora.worker.__main__ import main; main(['none']);"
    with paths.log.open("wb") as log:
        code = f"{worker} os.kill(os.getpid(), {int(number)})"
        died = subprocess.run([sys.executable, "-c", code], stdout=log, stderr=log, check=False)
    assert died.returncode == -number
    paths.worker.write_text(json.dumps({"log_bytes": 0}))
    assert why_it_ended(paths).startswith(words)


async def test_the_screens_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    paths = make_session(tmp_path / "sessions")
    write(paths, opening(400), steps(1, 9, 400))
    counts = {str(MACHINE): -1}
    paths.worker.write_text(json.dumps({"boot_id": boot_id(), "kernel_kills": counts}))
    app = TuiLora(paths.folder.parent, session=paths, start="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Probably the kernel killed it" in "\n".join(picture(app)), 20)
