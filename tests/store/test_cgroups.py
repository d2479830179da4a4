"""The limits of control groups: read off their files, and held against the machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_lora.store import cgroups
from tui_lora.store.cgroups import allowed, cgroup_limits
from tui_lora.store.gpu import GIB, Sensors


def cgroup(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_the_limits_of_cgroups_are_found(tmp_path: Path) -> None:
    ours, root = tmp_path / "ours", tmp_path / "cgroup"
    ours.write_text("0::/job/step\n")
    cgroup(root / "job/step", {"memory.max": "max\n", "memory.current": "5\n"})
    stat = "anon 3\ninactive_file 200\n"
    cgroup(root / "job", {"memory.max": "1000", "memory.current": "700", "memory.stat": stat})
    assert list(cgroup_limits(root, ours)) == [(1000, 500)]
    # Of version 1, in a container whose own root is what is mounted.
    ours.write_text("7:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    files = {"memory.limit_in_bytes": "400", "memory.usage_in_bytes": "90"}
    cgroup(root / "memory", files)
    assert list(cgroup_limits(root, ours)) == [(400, 90)]
    assert list(cgroup_limits(root, tmp_path / "none")) == []


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of 3 MiB of which 1 is free, within one of more than any machine has."""
    ours = tmp_path / "ours"
    ours.write_text("0::/box\n")
    cgroup(tmp_path, {"memory.max": str(1 << 60), "memory.current": "0"})
    cgroup(tmp_path / "box", {"memory.max": str(3 << 20), "memory.current": str(2 << 20)})
    monkeypatch.setattr(cgroups, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cgroups, "_OURS", ours)
    return tmp_path / "box"


def test_what_has_the_least_left_counts(box: Path) -> None:
    assert allowed(64 << 20, 8 << 20) == (3 << 20, 1 << 20)
    # Others have taken more of the machine than the group would still allow.
    assert allowed(64 << 20, 1 << 10) == (64 << 20, 1 << 10)
    assert allowed(2 << 20, 2 << 20) == (2 << 20, 2 << 20)


def test_the_sensors_show_what_this_process_may_have(box: Path) -> None:
    machine = Sensors().read().machine
    assert machine.memory_total_gib == (3 << 20) / GIB
    assert machine.memory_used_gib == (2 << 20) / GIB
    assert machine.whole_gib is not None
    assert machine.whole_gib > 0.1
    (box / "memory.max").write_text("max")
    assert Sensors().read().machine.whole_gib is None
