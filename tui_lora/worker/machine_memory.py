"""The memory that this process may have of the machine, by whichever limit is the nearest."""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tui_lora.store.cgroups import allowed

GIB = 2**30
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
    whole, left = allowed(machine.total, machine.available)
    whose = "the machine" if whole == machine.total else "the cgroup of this process"
    found = [MachineMemory(whole / GIB, left / GIB, own, resident, whose)]
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
