"""When a process began, which tells it from a later one of the same number."""

from __future__ import annotations

from pathlib import Path


def started_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did, which setting the clock does not
    change; None where it is not there. The 22nd field of /proc/PID/stat (man 5 proc)."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, and may hold anything.
    after_name = told.rpartition(")")[2].split()
    return int(after_name[19]) if len(after_name) > 19 else None
