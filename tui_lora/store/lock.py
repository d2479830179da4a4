"""Is a worker alive? A POSIX lock that it holds for as long as it lives says so, nothing else.

`lockf`, not `flock`: a forked data-loader child would keep a flock held after its parent's death.
A second open and close of the file anywhere in the holder drops the lock, so this module alone
touches the file: the worker opens it once, viewers ask with F_GETLK and never lock.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from tui_lora.core.errors import UserError

# struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"


class AlreadyHeld(Exception):
    """Another process holds the lock; `pid` is its id, 0 when it cannot be told."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(f"held by process {pid}")


def hold(path: Path) -> int:
    """Take the lock for the life of this process; returns the descriptor, which is never closed.

    Raises AlreadyHeld, and UserError where the disk knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        pid = _ask(descriptor)
        os.close(descriptor)
        raise AlreadyHeld(pid or 0) from None
    except OSError as error:
        os.close(descriptor)
        raise UserError(
            f"this disk does not lock files ({error.strerror}), so nothing could tell whether the "
            "worker lives.",
            where=str(path),
            then="Keep sessions on another disk with --sessions FOLDER or $TUI_LORA_SESSIONS.",
        ) from None
    return descriptor


def kept(descriptor: int) -> None:
    """Keep the lock that this very process took before it became another program.

    Raises OSError where there is none behind `descriptor`.
    """
    os.set_inheritable(descriptor, False)


def keep_beyond(descriptor: int) -> None:
    """Let the program that this process becomes (`os.execv`) go on holding the lock."""
    os.set_inheritable(descriptor, True)


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock; None when nobody does, 0 when it is hidden.

    Never call this in the worker: closing the descriptor would drop its own lock.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _ask(descriptor)
    finally:
        os.close(descriptor)


def _ask(descriptor: int) -> int | None:
    query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, query)
    except OSError:  # no file that can be locked (a folder of that name)
        return None
    kind, _, _, _, pid = struct.unpack(_FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else max(0, pid)
