"""Why a worker that lives is not heard of, as far as the kernel tells."""

from __future__ import annotations

from pathlib import Path

from tui_lora.store import lock
from tui_lora.store.paths import SessionPaths

_STATES = {
    "T": "Its process is stopped (SIGSTOP, or Ctrl-Z); kill -CONT {pid} lets it go on.",
    "t": "A debugger holds its process; it goes on when that lets go.",
    "D": "Its process waits for a disk or a driver, where no signal reaches it; look at the disk "
    "and at nvidia-smi.",
    "Z": "Its process has ended, and whoever started it has not taken note.",
}


def why_quiet(paths: SessionPaths, proc: Path = Path("/proc")) -> str:
    """A sentence or two on the process that holds the lock; empty where nothing is unusual. The
    third field of /proc/PID/stat (man 5 proc)."""
    pid = lock.holder(paths.lock)
    if not pid:
        return ""
    try:
        told = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    # The second field is the program's name in brackets, and may hold anything.
    state = told.rpartition(")")[2].split()[:1]
    return _STATES.get(state[0], "").format(pid=pid) if state else ""
