"""What a worker is told by its environment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.recorded import make_session
from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec
from tui_lora.store import launch
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.train import _parse


@pytest.mark.parametrize(
    ("given", "devices", "seen"),
    [
        (None, "auto", "0"),
        ("2,3", "auto", "2"),
        ("", "auto", ""),
        ("2,3", "1", "1"),
        ("0", "cpu", ""),
    ],
)
def test_one_card_is_visible_at_most(
    given: str | None, devices: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert launch._environment(devices)["CUDA_VISIBLE_DEVICES"] == seen


def test_folders_are_meant_from_where_the_viewer_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUI_LORA_CACHE", "cache")
    monkeypatch.setenv("HF_HOME", "/somewhere/hf")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    environment = launch._environment()
    assert environment["TUI_LORA_CACHE"] == str(tmp_path / "cache")
    assert environment["HF_HOME"] == "/somewhere/hf"
    assert "HF_HUB_CACHE" not in environment


@pytest.mark.parametrize("classifier", [False, True])
def test_a_chat_worker_is_told_of_a_classifier_before_it_loads(
    monkeypatch: pytest.MonkeyPatch, classifier: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(launch, "start_pipe_worker", lambda *a, **_: told.extend(a))
    folder = Path("/runs/one/adapter")
    launch.start_chat(ChatTarget("one", ModelSpec(id="m"), adapter=folder, classifier=classifier))
    assert (told[-2:] == ["--classifier", str(folder)]) is classifier


BECOME = """
import os, signal, sys
from pathlib import Path
from tui_lora.store import launch, lock
from tui_lora.store.paths import SessionPaths
paths = SessionPaths(Path(sys.argv[1]))
held = lock.hold(paths.lock)
sys.executable = sys.argv[2]
try:
    asked = launch.asked_of({"training.micro_batch": 2}, "Memory ran out.", ["rows"])
    with launch.sigterm_waits():
        launch.train_on(
            paths, held, [*asked, "--retry", "2", "--heard", "17"],
            {**os.environ, "CUDA_VISIBLE_DEVICES": "3"},
        )
except OSError as error:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    print(error.strerror, len(blocked), os.get_inheritable(held))
"""


def test_a_worker_becomes_a_worker_again_with_all_that_it_knows(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nimport os, signal, sys\n"
        "blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "print(*sys.argv[1:], os.environ['CUDA_VISIBLE_DEVICES'], *blocked, sep='\\n')\n"
    )
    program.chmod(0o700)
    command = [sys.executable, "-c", BECOME, str(tmp_path)]
    became = subprocess.run([*command, str(program)], capture_output=True, text=True, check=True)
    *words, card, blocked = became.stdout.splitlines()
    assert words[:5] == ["-P", "-m", "tui_lora.worker", "train", str(tmp_path)]
    asked = _parse(words[4:])
    assert asked.changes == {"training.micro_batch": 2}
    assert (asked.reason, asked.retry, asked.heard) == ("Memory ran out.", 2, 17)
    assert asked.accept == ["rows"]
    assert asked.lock is not None
    assert card == "3"
    # A stop by the system waits for the new worker.
    assert int(blocked) == signal.SIGTERM

    failed = subprocess.run(
        [*command, str(tmp_path / "none")], capture_output=True, text=True, check=True
    )
    assert failed.stdout.split("\n")[0] == "No such file or directory 0 False"


def test_what_waits_for_a_worker_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several guards one stays; the others are gone when the next one is started."""
    monkeypatch.setattr(launch, "_command", lambda *_: ["true"])
    paths = make_session(tmp_path, "run")
    launch.guard_queue(paths, "cpu", 1)
    first = launch._STARTED[-1]
    # Its end is seen without reaping it.
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    launch.guard_queue(paths, "cpu", 1)
    assert first not in launch._STARTED
    assert not psutil.pid_exists(first.pid)
    launch._STARTED[-1].wait(60)


def test_a_worker_that_does_not_begin_in_time_does_not_begin_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_command", lambda *_: ["sleep", "60"])
    with pytest.raises(UserError, match="did not begin"):
        launch.start_training(SessionPaths(tmp_path), wait_s=0.05)
    assert launch._STARTED[-1].poll() is not None
