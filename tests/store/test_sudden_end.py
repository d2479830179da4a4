"""Why a worker left no last word: by boots, counts of the kernel, and what it printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded import ending, make_session, opening, steps, write
from tui_lora.store import sudden_end
from tui_lora.store.sudden_end import MACHINE, judged, kills_so_far, why_it_ended

GROUP = "/sys/fs/cgroup/user.slice/session-3.scope/memory.events"
BEGAN = {"boot_id": "b1", "kernel_kills": {GROUP: 1, str(MACHINE): 4}, "log_bytes": 0}


@pytest.mark.parametrize(
    ("boot", "kills", "output", "words"),
    [
        ("b2", {GROUP: 2}, b"", "This machine was started anew"),
        ("b1", {GROUP: 2, str(MACHINE): 5}, b"", "The kernel killed it: out of memory"),
        ("b1", {GROUP: 1, str(MACHINE): 5}, b"", "Probably the kernel killed it, out of memory"),
        ("b1", {GROUP: 1, str(MACHINE): 4}, b"", "the kernel counts no kill for memory"),
        ("b1", {str(MACHINE): 4}, b"", "the kernel counts no kill for memory"),
        ("b1", {}, b"", "the cause is unknown"),
        ("b1", {}, b"x\nFatal Python error: Bus error\n\nThread", "It crashed: Bus error. Most"),
        ("b1", {}, b"a row that says Fatal Python error: Bus error", "the cause is unknown"),
    ],
)  # fmt: skip
def test_what_is_known_is_said_and_no_more(
    boot: str, kills: dict[str, int], output: bytes, words: str
) -> None:
    assert words in judged(BEGAN, boot, kills, output)


@pytest.mark.parametrize(
    "worker", [{}, {"kernel_kills": 3, "boot_id": []}, {"kernel_kills": {GROUP: "x"}}]
)
def test_a_worker_that_said_nothing_of_itself(worker: dict[str, object]) -> None:
    assert "the cause is unknown" in judged(worker, "b1", {GROUP: 3}, b"")


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_counts_of_both_versions_of_cgroups(tmp_path: Path) -> None:
    machine = put(tmp_path / "vmstat", "nr_free_pages 5\noom_kill 7\n")
    root = tmp_path / "cgroup"
    second = put(
        root / "user.slice/a/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"
    )
    first = put(root / "memory/box/memory.oom_control", "under_oom 0\noom_kill 1\n")
    assert kills_so_far("0::/user.slice/a\n", root, machine) == {str(second): 2, str(machine): 7}
    text = "4:memory:/box\n3:cpuset:/other\n0::/\n"
    assert kills_so_far(text, root, machine) == {str(first): 1, str(machine): 7}
    # In a container the path is the host's, and the mount begins with what is ours.
    own = put(root / "memory.events", "oom_kill 9\n")
    for path in ("/docker/0123", "/../elsewhere"):
        assert kills_so_far(f"0::{path}\n", root, machine) == {str(own): 9, str(machine): 7}
    put(own, "nothing of the kind\n")
    assert kills_so_far("garbage\n0::/\n", root, tmp_path / "gone") == {}


def test_a_worker_json_from_elsewhere_opens_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = put(tmp_path / "memory.events", "oom_kill 5\n")
    paths = make_session(tmp_path / "s")
    write(paths, opening(400), steps(1, 9, 400))
    names = [str(counting), "/sys/fs/cgroup/../../etc/memory.events", "/etc/passwd", "", "\0"]
    worker = {"boot_id": sudden_end.boot_id(), "kernel_kills": dict.fromkeys(names, 0)}
    paths.worker.write_text(json.dumps(worker))
    assert "the cause is unknown" in why_it_ended(paths)
    monkeypatch.setattr(sudden_end, "CGROUPS", tmp_path)
    assert "The kernel killed it: out of memory" in why_it_ended(paths)


def test_an_end_in_the_log_is_no_kill(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    first = write(paths, opening(400), steps(1, 9, 400), ending(9, "failed"))
    assert "result.json is missing or cannot be read" in why_it_ended(paths)
    write(paths, opening(400, attempt=2), steps(1, 5, 400), first=first + 1)
    assert "the cause is unknown" in why_it_ended(paths)


def test_only_its_own_output_counts(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    earlier = "Fatal Python error: Segmentation fault\n"
    paths.log.write_text(earlier)
    paths.worker.write_text(json.dumps({"log_bytes": len(earlier)}))
    assert "the cause is unknown" in why_it_ended(paths)
    paths.log.write_text(f"{earlier}loading\nFatal Python error: Bus error\n")
    assert why_it_ended(paths).startswith("It crashed: Bus error. Most often /dev/shm")
