"""Why a worker ended without a last word, as far as anybody can tell afterwards.

A killed process says nothing, so the worker writes down beforehand what its end is held against:
the boot that it runs in, how many processes the kernel had killed for want of memory by then, and
where its own output begins in worker.log.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_lora.core.events import EVENTS, AttemptFinished, AttemptStarted
from tui_lora.store.journal import last_line_with
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import read_worker
from tui_lora.store.signals_sent import sent_since

CGROUPS = Path("/sys/fs/cgroup")
MACHINE = Path("/proc/vmstat")
"""Counts the kills of the whole machine (Linux 4.13 on)."""

_OF_GROUPS = ("memory.events", "memory.oom_control")
"""Where version 2 and 1 count the processes of a group that any OOM killer killed: `oom_kill`."""

_ANYWHERE = 1 << 62
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOG_BYTES = 1 << 16
_CRASH = re.compile(rb"^Fatal Python error: ([A-Za-z ]{1,40})", re.MULTILINE)
_AFTER_CRASH = {
    "Bus error": "Most often /dev/shm or the disk is full: df -h /dev/shm. A container gets more "
    "with --shm-size.",
    "Segmentation fault": "A library crashed: tui-lora doctor tries those that are here.",
}


def boot_id() -> str:
    """Which boot of this machine it is; empty where the kernel does not tell."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def kills_so_far(cgroup: str, root: Path = CGROUPS, machine: Path = MACHINE) -> dict[str, int]:
    """How many processes the kernel killed for want of memory, by the file that counts them: of
    the group that `cgroup` (the text of /proc/self/cgroup) names, and of the machine.

    A count that cannot be read is left out.
    """
    counts = {}
    for file in (*_counters(cgroup, root), machine):
        count = _count(file)
        if count is not None:
            counts[str(file)] = count
    return counts


def what_it_began_with() -> dict[str, Any]:
    """What a worker writes into worker.json for the day it is killed."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        groups = ""
    log = os.fstat(2)
    return {
        "boot_id": boot_id(),
        "kernel_kills": kills_so_far(groups),
        "log_bytes": log.st_size if stat.S_ISREG(log.st_mode) else 0,
    }


def why_it_ended(paths: SessionPaths) -> str:
    """Why the latest worker, which lives no more, left no last word: a sentence or two."""
    if _ended_in_its_log(paths):
        return "Its log says that it ended, and its result.json is missing or cannot be read."
    if (killed := _killed_by_a_viewer(paths)) is not None:
        clock = time.strftime("%H:%M:%S", time.localtime(killed))
        return f"It was killed from a viewer (SIGKILL at {clock}), as somebody asked there."
    worker = read_worker(paths)
    told = worker.get("kernel_kills")
    before = told if isinstance(told, dict) else {}
    now = {name: count for name in before if (count := _count_named(name)) is not None}
    return judged(worker, boot_id(), now, _output(paths.log, worker.get("log_bytes")))


def judged(worker: Mapping[str, Any], boot: str, kills: Mapping[str, int], output: bytes) -> str:
    """The same of what worker.json says, the boot of now, the counts of now and the worker's own
    output."""
    began_in = worker.get("boot_id")
    if isinstance(began_in, str) and began_in and boot and began_in != boot:
        return "This machine was started anew since then, or it ran on another one."
    crash = _CRASH.search(output)
    if crash is not None:
        name = crash[1].decode().strip()
        return f"It crashed: {name}. {_AFTER_CRASH.get(name, '')}".rstrip()
    told = worker.get("kernel_kills")
    before = told if isinstance(told, dict) else {}
    risen = {
        name: (was, kills[name])
        for name, was in before.items()
        if isinstance(was, int) and kills.get(name, was) > was
    }
    for name, (was, now) in risen.items():
        if name != str(MACHINE):
            return (
                "The kernel killed it: out of memory "
                f"(its group had {was:,} such kills when it began, {now:,} now)."
            )
    if risen:
        return (
            "Probably the kernel killed it, out of memory: it has killed processes of this "
            "machine for that since the run began."
        )
    if kills:
        return (
            "It was killed (SIGKILL), the cause is unknown: the kernel counts no kill for memory."
        )
    return "It was killed (SIGKILL), or the machine went down: the cause is unknown."


def _ended_in_its_log(paths: SessionPaths) -> bool:
    """Whether the latest attempt that began in the log ended there, too."""
    began, ended = (
        last_line_with(paths.events, f'"type":"{kind.type}"'.encode(), after=0, before=_ANYWHERE)
        for kind in (AttemptStarted, AttemptFinished)
    )
    return ended is not None and (began is None or began[0] < ended[0])


def _killed_by_a_viewer(paths: SessionPaths) -> float | None:
    """When a viewer last sent SIGKILL to the latest attempt, in unix seconds."""
    needle = f'"type":"{AttemptStarted.type}"'.encode()
    began = last_line_with(paths.events, needle, after=0, before=_ANYWHERE)
    event = EVENTS.decode(began[1]).message if began is not None else None
    sent = sent_since(paths, event.t if event is not None else None)
    return next((one.t for one in reversed(sent) if one.name == "SIGKILL"), None)


def _counters(cgroup: str, root: Path) -> list[Path]:
    """The counter of the process's own group; in a container its path may be the host's, and what
    is mounted begins with our own."""
    found = []
    for line in cgroup.splitlines():
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (root / "memory", _OF_GROUPS[1]) if controllers else (root, _OF_GROUPS[0])
        parts = [part for part in place.split("/") if part]
        places = [base] if ".." in parts else [base.joinpath(*parts), base]
        found += [folder / name for folder in places if (folder / name).is_file()][:1]
    return found


def _count_named(name: object) -> int | None:
    """The count in a file that a worker.json names, which anybody may have written: no other
    files than those that count are opened."""
    if not isinstance(name, str):
        return None
    file = Path(name)
    group = file.is_relative_to(CGROUPS) and ".." not in file.parts and file.name in _OF_GROUPS
    return _count(file) if group or file == MACHINE else None


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except (OSError, ValueError):
        return None
    found = [line.split()[1:] for line in lines if line.startswith("oom_kill ")]
    return int(found[0][0]) if found and found[0] and found[0][0].isdigit() else None


def _output(log: Path, begins: object) -> bytes:
    """The end of what the worker printed itself."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = begins if isinstance(begins, int) and 0 <= begins <= size else size
            file.seek(max(first, size - _LOG_BYTES))
            return file.read()
    except OSError:
        return b""
