"""The memory that this process may have of the machine, by whichever limit is the nearest."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import psutil

GIB = 2**30
_CGROUPS = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")
_PEAKS = re.compile(r"^Vm(HWM|Peak):\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class MachineMemory:
    """In GiB. `own` is what this process holds by the count of the limit: resident memory, or its
    addresses where these are limited; `own_peak` the most that it ever held. `whose` names who sets
    the limit."""

    total: float
    free: float
    own: float
    own_peak: float
    whose: str

    def when_short_of(self, asked: float | None) -> MachineMemory:
        """As it was when `asked` was refused: what failed may have been given back since, and a
        process that is refused memory stands at its peak."""
        if asked is None or self.free < asked:
            return self
        back = max(0.0, self.own_peak - self.own)
        return replace(self, free=max(0.0, self.free - back), own=self.own + back)


def machine_memory() -> MachineMemory:
    """Of the machine, of the process's cgroups and of `ulimit -v`: where the least is free.

    Raises OSError and psutil's errors.
    """
    process = psutil.Process().memory_info()
    resident, addresses = _peaks()
    machine = psutil.virtual_memory()
    own = process.rss / GIB
    free = machine.available / GIB
    found = [MachineMemory(machine.total / GIB, free, own, resident, "the machine")]
    for limit, used in cgroup_limits():
        if limit < machine.total:
            free = max(0, limit - used) / GIB
            whose = "the cgroup of this process"
            found.append(MachineMemory(limit / GIB, free, own, resident, whose))
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most != resource.RLIM_INFINITY:
        free = max(0, most - process.vms) / GIB
        whose = "this process alone (ulimit -v)"
        found.append(MachineMemory(most / GIB, free, process.vms / GIB, addresses, whose))
    return min(found, key=lambda one: one.free)


def _peaks() -> tuple[float, float]:
    """The most resident memory and the most addresses that this process ever had, in GiB."""
    status = Path("/proc/self/status").read_text()
    most = {name: int(kib) / 2**20 for name, kib in _PEAKS.findall(status)}
    return most.get("HWM", 0.0), most.get("Peak", 0.0)


def cgroup_limits(cgroups: Path = _CGROUPS, ours: Path = _OURS) -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of each cgroup that holds this process, from the inside out; of those
    that have a limit.

    Use without the file pages that the kernel gives back when it must.
    """
    for kind, place in _places(ours):
        base = cgroups / "memory" if kind == "memory" else cgroups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if kind != "memory":
            names = ("memory.max", "memory.current", "inactive_file")
        # In a container the path may be the host's, and what is mounted begins with our own.
        for folder in dict.fromkeys((*(base / part for part in _upwards(place)), base)):
            limit, used = (_number(folder / name) for name in names[:2])
            if limit is not None and used is not None:
                yield limit, max(0, used - _reclaimable(folder / "memory.stat", names[2]))


def _places(ours: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """By `/proc/self/cgroup`: '' for version 2, 'memory' for version 1's controller."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if not controllers or "memory" in controllers.split(","):
            kind = "memory" if controllers else ""
            yield kind, PurePosixPath(place.lstrip("/"))


def _upwards(place: PurePosixPath) -> Iterator[PurePosixPath]:
    if ".." not in place.parts:
        yield place
        yield from place.parents


def _number(file: Path) -> int | None:
    """None for `max`, and where there is no such file."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _reclaimable(stat: Path, name: str) -> int:
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return int(found[0]) if found and found[0].isdigit() else 0
