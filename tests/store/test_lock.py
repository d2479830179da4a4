"""The lock against a real second process: held, asked for, freed by kill -9, not kept by forks."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.store import lock

HOLD = """
import sys, time
from pathlib import Path
from tui_lora.store import lock
try:
    lock.hold(Path(sys.argv[1]))
except lock.AlreadyHeld as error:
    print("already", error.pid, flush=True)
    sys.exit(3)
print("held", flush=True)
sys.stdin.read()
"""

HOLD_AND_FORK = """
import os, sys, time
from pathlib import Path
from tui_lora.store import lock
lock.hold(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    time.sleep(30)
    os._exit(0)
print("held", child, flush=True)
sys.stdin.read()
"""


def start(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.lock"


@pytest.fixture
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(HOLD, path)
    assert said(process) == ["held"]
    yield process
    process.kill()
    process.communicate()


def freed(path: Path) -> bool:
    for _ in range(200):
        if lock.holder(path) is None:
            return True
        time.sleep(0.01)
    return False


def test_nobody_holds_a_lock_that_is_not_there_or_no_file(path: Path) -> None:
    assert lock.holder(path) is None
    path.mkdir()
    assert lock.holder(path) is None


def test_the_holder_is_seen_by_others_and_gone_after_kill_9(
    path: Path, held: subprocess.Popen[str]
) -> None:
    assert lock.holder(path) == held.pid
    assert lock.holder(path) == held.pid  # asking does not take it away
    held.send_signal(signal.SIGKILL)
    held.wait()
    assert freed(path)
    assert path.exists()


def test_a_second_worker_is_told_who_has_it(path: Path, held: subprocess.Popen[str]) -> None:
    second = start(HOLD, path)
    assert said(second) == ["already", str(held.pid)]
    second.communicate()
    assert second.returncode == 3
    assert lock.holder(path) == held.pid


def test_a_forked_child_does_not_keep_it(path: Path) -> None:
    process = start(HOLD_AND_FORK, path)
    _, child = said(process)
    try:
        assert lock.holder(path) == process.pid
        process.kill()
        process.wait()
        os.kill(int(child), 0)  # it lives, and yet:
        assert freed(path)
    finally:
        os.kill(int(child), signal.SIGKILL)
        process.communicate()


def test_ending_in_peace_frees_it_too(path: Path, held: subprocess.Popen[str]) -> None:
    held.communicate(timeout=60)
    assert freed(path)


def test_a_disk_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.raises(UserError, match="does not lock files"):
        lock.hold(path)


HOLD_AND_BECOME = """
import os, sys
from pathlib import Path
from tui_lora.store import lock
path = Path(sys.argv[1])
if len(sys.argv) == 2:
    held = lock.hold(path)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 50, inheritable=True)
    print("held", flush=True)
    sys.stdin.readline()
    lock.keep_beyond(held)
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], str(path), str(held)])
held = lock.kept(path, int(sys.argv[2]))
print("kept", os.get_inheritable(held), *os.listdir("/proc/self/fd"), flush=True)
sys.stdin.readline()
"""


def test_a_process_that_becomes_another_program_keeps_it_all_the_while(path: Path) -> None:
    process = start(HOLD_AND_BECOME, path)
    assert said(process) == ["held"]
    seen: set[int | None] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.0005):
            seen.add(lock.holder(path))

    watching = threading.Thread(target=watch)
    watching.start()
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    second = start(HOLD, path)
    assert said(second) == ["already", str(process.pid)]
    kept, inheritable, *open_files = said(process)
    assert (kept, inheritable) == ("kept", "False")
    # What a library left open for those that come after it is closed.
    assert "50" not in open_files
    done.set()
    watching.join()
    assert seen == {process.pid}
    second.communicate()
    process.communicate("\n", timeout=60)
    assert freed(path)


def test_only_the_locks_own_descriptor_is_kept(path: Path, tmp_path: Path) -> None:
    path.touch()
    with (tmp_path / "other").open("w") as other, pytest.raises(OSError, match="not that of"):
        lock.kept(path, other.fileno())
