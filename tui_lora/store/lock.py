"""Is a worker alive? A POSIX lock that it holds for as long as it lives says so, nothing else.
`alone` is the one lock here that tells of no worker.

`lockf`, not `flock`: a forked data-loader child would keep a flock held after its parent's death.
A second open and close of the file anywhere in the holder drops the lock, so this module alone
touches the file: the worker opens it once, viewers ask with F_GETLK and never lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
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


def trial(path: Path) -> str | None:
    """Why files on the disk of `path`, a new file, cannot be locked; None when they can."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(descriptor)
    return None


def kept(path: Path, descriptor: int) -> int:
    """Keep the lock that this very process took before it became another program; returns the
    descriptor, which is never closed.

    Raises OSError where it is not that of the lock, and AlreadyHeld.
    """
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise OSError(f"descriptor {descriptor} is not that of {path}")
    os.set_inheritable(descriptor, False)
    try:
        # What a process holds already it is simply given again.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise AlreadyHeld(_ask(descriptor) or 0) from None
    return descriptor


def keep_beyond(descriptor: int) -> None:
    """Let the program that this process becomes (`os.execve`) go on holding the lock, and nothing
    else that is open: a driver gives a card's memory back when its own files are closed."""
    for file in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the folder itself is among them, and is closed by now
            number = int(file.name)
            os.set_inheritable(number, number <= 2 or number == descriptor)


@contextlib.contextmanager
def alone(path: Path, patience_s: float) -> Iterator[None]:
    """While this is open nobody else is in here with the same file, threads of one process
    included; for a file that is no worker's. Raises TimeoutError, and OSError where the file cannot
    be written.

    `flock`: it belongs to the open file, so that others may open and close theirs. A disk that
    knows no locks lets everybody in; no worker runs there.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience_s
        while not _flocked(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is held by another process")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
    return True


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
