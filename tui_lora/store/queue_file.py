"""`queue.jsonl` in a sessions root: appended to by anyone, read whole.

It is never shortened: a session that waits and starts leaves some 300 bytes, and reading a thousand
of them takes milliseconds. Rewriting it would lose what another process appends meanwhile.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tui_lora.core.errors import UserError
from tui_lora.core.queue import QUEUE, Entry, Queue, QueueLine, Removed, Taken, fold
from tui_lora.store import lock
from tui_lora.store.journal import Tail, append_line, last_lines

L = TypeVar("L", bound=QueueLine)

_PATIENCE_S = 120.0
_JUST_WRITTEN_BYTES = 1 << 16

_READ: dict[Path, tuple[tuple[int, int], Queue]] = {}
"""What was read last of each root, with the size and the time of change that it had."""


def queue_path(root: Path) -> Path:
    return root / "queue.jsonl"


def read_queue(root: Path) -> Queue:
    """The queue as it stands; an empty one where there is none that can be read."""
    path = queue_path(root)
    try:
        found = path.stat()
    except OSError:
        return Queue()
    stamp = (found.st_size, found.st_mtime_ns)
    known = _READ.get(path)
    if known is not None and known[0] == stamp:
        return known[1]
    lines: list[bytes] = []
    tail = Tail(path)
    while more := tail.read():
        lines += more
    queue = fold(lines)
    _READ[path] = (stamp, queue)
    return queue


def say(root: Path, kind: type[L], name: str, **fields: object) -> L:
    """Append a line; returns it. Raises UserError where the root cannot be written.

    Looked up afterwards: a full disk takes half a line, which would spoil the next one too.
    """
    line = kind(id=str(uuid.uuid4()), t=round(time.time(), 3), name=name, **fields)
    text = QUEUE.encode(line)
    try:
        append_line(queue_path(root), text)
        if not _stands_there(root, text):
            append_line(queue_path(root), f"\n{text}")
            if not _stands_there(root, text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise _unwritable(root, error) from None
    return line


def _stands_there(root: Path, text: str) -> bool:
    lines, _ = last_lines(queue_path(root), _JUST_WRITTEN_BYTES)
    return text.rstrip("\n").encode() in lines


def take(root: Path, entry: Entry) -> bool:
    """Say that a session is started now; False where another process said so first. Raises
    UserError."""
    mine = say(root, Taken, entry.name, entry=entry.id)
    return read_queue(root).taken_by.get(entry.id) == mine.id


def forget(root: Path, name: str) -> None:
    """Let a session that is gone or has started wait no more; nothing where it does not, or where
    the queue cannot be written. One that has not left is passed over when its turn comes."""
    queue = read_queue(root)
    if queue.entry(name) is not None or name in queue.refused or name in queue.starting:
        with suppress(UserError):
            say(root, Removed, name)


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """While this is open nobody else in the root looks whether a card is free and starts a session
    on it. Raises UserError where another does not come to an end, and where the root cannot be
    written."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.alone(queue_path(root), _PATIENCE_S))
        except TimeoutError:
            raise UserError(
                "another process has been starting a session for two minutes.",
                where=str(queue_path(root)),
                then="Look at the newest worker.log, then: tui-lora queue start",
            ) from None
        except OSError as error:
            raise _unwritable(root, error) from None
        yield


def somebody_starts(root: Path) -> bool:
    """Whether another process is in `one_at_a_time` now."""
    try:
        with lock.alone(queue_path(root), 0.0):
            return False
    except TimeoutError:
        return True
    except OSError:
        return False


def _unwritable(root: Path, error: OSError) -> UserError:
    return UserError(
        f"the queue could not be written: {error.strerror}.", where=str(queue_path(root))
    )
