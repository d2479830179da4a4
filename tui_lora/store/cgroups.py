"""The memory that the control groups of this process allow: in a container less than there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")


def allowed(total: int, free: int) -> tuple[int, int]:
    """Bytes that this process may have in all, and those that are free: the machine's, as given, or
    those of the group around it that has the least left."""
    found = [(free, total)]
    for limit, used in cgroup_limits():
        if limit < total:
            found.append((max(0, limit - used), limit))
    left, whole = min(found)
    return whole, left


def cgroup_limits(
    cgroups: Path | None = None, ours: Path | None = None
) -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of each cgroup that holds this process, from the inside out; of those
    that have a limit.

    Use without the file pages that the kernel gives back when it must.
    """
    cgroups = cgroups or _CGROUPS
    for kind, place in _places(ours or _OURS):
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
