"""The doctor on the machine: cards and driver, memory under its limits, shared memory, limits."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.doctor import Check, driver_check
from tui_lora.core.sensors import SensorReading
from tui_lora.core.text import clean, one_line, size
from tui_lora.store.doctor_libraries import Build

GIB = 1 << 30
MEMORY_NEEDED_GIB = 3.0
_SHM_NEEDED = 64 << 20
_FILES_NEEDED = 1024
_NO_LIMIT = 1 << 60
"""cgroup v1 writes "none" as the largest number of pages."""


def cards(build: Build | None, reading: SensorReading) -> Iterator[Check]:
    if reading.nvml_problem is not None:
        # Without a device file there is no card to be had, and that is no fault.
        present = any(Path("/dev").glob("nvidia[0-9]*"))
        what, _, fix = reading.nvml_problem.partition(". ")
        if present or (build is not None and "+cu" in build.version):
            yield Check(
                "GPU (NVML)", False, f"{what}.", fix or "Run nvidia-smi: it should say why."
            )
        else:
            yield Check("GPU (NVML)", None, "no NVIDIA card here: training runs on the CPU")
        return
    if not reading.cards:
        yield Check("GPU (NVML)", None, "the NVIDIA driver answers and knows no card")
    for card in reading.cards:
        total = "—" if card.total_gib is None else f"{card.total_gib:.1f} GiB"
        free = "" if card.free_gib is None else f", {card.free_gib:.1f} GiB free"
        note = f" ({clean(card.note)})" if card.note else ""
        yield Check(
            f"GPU {card.index}", None if card.note else True, f"{card.name}, {total}{free}{note}"
        )


def driver(build: Build | None, version: str | None) -> Iterator[Check]:
    """The driver against torch's CUDA; nothing where there is no driver, which `cards` tells."""
    if version is not None and build is not None and build.cuda is not None:
        yield driver_check(build.cuda, version)


@dataclass(frozen=True)
class Allowance:
    """What the control group allows, in bytes; None where it sets no limit."""

    limit: int | None = None
    used: int | None = None
    swap: int | None = None
    killed: int | None = None

    @property
    def free(self) -> int | None:
        return None if self.limit is None or self.used is None else max(0, self.limit - self.used)


def allowance(cgroup: str, root: Path = Path("/sys/fs/cgroup")) -> Allowance:
    """The tightest memory limit on the way from this process's group (`cgroup`, the text of
    /proc/self/cgroup) up to `root`, version 1 or 2.

    Files that can be dropped (inactive page cache) do not count as used.
    """
    groups = {}
    for line in cgroup.splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            groups["v2"] = path
        elif "memory" in controllers.split(","):
            groups["v1"] = path
    if "v1" in groups:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "")
        return _tightest(root / "memory", groups["v1"], names, "total_inactive_file")
    names = ("memory.max", "memory.current", "memory.swap.max")
    return _tightest(root, groups.get("v2", "/"), names, "inactive_file")


def _tightest(root: Path, path: str, names: tuple[str, str, str], droppable: str) -> Allowance:
    """In a container the path is often the host's, and only the mount's own top is there."""
    found = Allowance()
    folder = root / path.strip("/")
    for place in (folder, *folder.parents):
        if not place.is_relative_to(root):
            break
        limit, used = _number(place / names[0]), _number(place / names[1])
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        here = Allowance(
            limit,
            max(0, used - (_field(place / "memory.stat", droppable) or 0)),
            _number(place / names[2]) if names[2] else None,
            _field(place / "memory.events", "oom_kill")
            or _field(place / "memory.oom_control", "oom_kill"),
        )
        if found.free is None or (here.free is not None and here.free < found.free):
            found = here
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no number
        return None


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)
    except (OSError, ValueError, IndexError):
        return None


def memory(reading: SensorReading, allowed: Allowance) -> Iterator[Check]:
    total, used = reading.machine.memory_total_gib, reading.machine.memory_used_gib
    if total is None or used is None:
        yield Check("memory", None, "could not be read")
        return
    free = total - used
    detail = f"{free:.1f} of {total:.1f} GiB free"
    fix = f"A worker needs about {MEMORY_NEEDED_GIB:.0f} GiB: end other programs."
    whole, left = reading.machine.whole_gib, allowed.free
    if left is not None and allowed.limit is not None and (whole or left / GIB < free):
        free = left / GIB
        detail = (
            f"{free:.1f} of {allowed.limit / GIB:.1f} GiB free of what this control group may use "
            f"(the machine has {whole or total:.1f} GiB)"
        )
        fix = (
            f"A worker needs about {MEMORY_NEEDED_GIB:.0f} GiB: raise the limit (docker --memory, "
            "slurm --mem, systemd MemoryMax), or end other programs."
        )
    if allowed.killed:
        detail += f"; {allowed.killed} processes were killed here for memory"
    ok = free >= MEMORY_NEEDED_GIB
    yield Check("memory", ok, detail, "" if ok else fix)


def swap(total: int, allowed: Allowance) -> Iterator[Check]:
    """A word, no judgement: with swap a large model loads slowly, without it loading is killed."""
    if total == 0:
        said = "none: a program that asks for too much memory is killed at once"
    elif allowed.limit is not None and allowed.swap == 0:
        said = f"{size(total)}, which this control group may not use"
    else:
        said = size(total)
    yield Check("swap", None, said)


def shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Check]:
    name = "/dev/shm"
    try:
        space = shutil.disk_usage(folder)
    except OSError:
        yield Check(name, None, "is not there")
        return
    detail = f"{size(space.free)} of {size(space.total)} free"
    if not os.access(folder, os.W_OK):
        yield Check(name, False, f"{detail}, and cannot be written", f"chmod 1777 {folder}")
    elif space.total < _SHM_NEEDED:
        yield Check(name, False, detail, "Start the container with --shm-size=1g.")
    elif space.free < _SHM_NEEDED // 4:
        fix = f"Look at what lies in {folder}: programs that were killed leave files there."
        yield Check(name, False, detail, fix)
    else:
        yield Check(name, True, detail)


def limits(ask: dict[str, tuple[int, int]] | None = None) -> Iterator[Check]:
    """Open files, address space and file size; `ask` stands in for the process's own limits."""
    infinite = resource.RLIM_INFINITY
    found = ask or {
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "address space": resource.getrlimit(resource.RLIMIT_AS),
        "file size": resource.getrlimit(resource.RLIMIT_FSIZE),
    }
    soft, hard = found["files"]
    shown = "unlimited" if soft == infinite else f"{soft:,}"
    if soft != infinite and soft < _FILES_NEEDED:
        fix = f"ulimit -n {_FILES_NEEDED if hard == infinite else min(hard, 65536)}"
        yield Check("limits", False, f"{shown} open files are few", fix)
        return
    for what, option in (("address space", "v"), ("file size", "f")):
        soft, _ = found[what]
        if soft != infinite:
            yield Check(
                "limits",
                False,
                f"the {what} is limited to {size(soft)}; CUDA and checkpoints need more",
                f"ulimit -{option} unlimited, or ask for the limit to be lifted.",
            )
            return
    yield Check("limits", True, f"{shown} open files; address space and file size unlimited")


def container(first: str | None, marks: tuple[str, ...], variable: str = "") -> Iterator[Check]:
    """`first` is the name of process 1, `marks` the files by which a container is known."""
    if not marks and not variable:
        return
    kind = "in a container" if not variable else f"in a container ({one_line(variable)})"
    if first is None:
        yield Check("container", None, kind)
        return
    name = one_line(first.strip())
    reaps = name in (
        "systemd",
        "init",
        "tini",
        "docker-init",
        "dumb-init",
        "catatonit",
        "s6-svscan",
    )
    said = f"{kind}: it ends, and every run with it, when its first process ({name}) ends"
    fix = "" if reaps else (
        "Start it with an init that lives as long as the container and reaps what ends "
        "(docker run --init), and detach instead of leaving its shell."
    )  # fmt: skip
    yield Check("container", None, said, fix)
