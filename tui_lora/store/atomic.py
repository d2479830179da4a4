"""Files that are either whole or not there: written beside, fsynced, renamed."""

from __future__ import annotations

import os
from pathlib import Path

_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


def write_whole(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8), for its owner alone to read; raises OSError and leaves the
    old file as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, _ANEW, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:  # a text that is no UTF-8, a Ctrl-C: nothing is left beside either
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what was written into a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """The same for all files in `folder`, before it gets the name by which it counts."""
    for file in folder.iterdir():
        sync_file(file)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    sync_file(folder)
