"""Waits for the end of a process that need not be this one's child; of the standard library alone,
since who waits may do so for days."""

from __future__ import annotations

import os
import select


def wait_until_gone(pid: int) -> None:
    """Return when the process has ended, reaped or not; at once where there is none. Raises OSError
    where the kernel knows no such wait (before Linux 5.3)."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        while not poll.poll():
            pass
    finally:
        os.close(process)
