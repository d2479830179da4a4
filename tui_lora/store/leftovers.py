"""What was left half-done by a process that was killed: in a session put back or removed by its
next worker, which alone writes there; in a root removed when it is old."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path

from tui_lora.store.paths import SessionPaths

_BESIDE = re.compile(r"\..+\.\d+")
"""A file that was to take another's place (`atomic.write_whole`)."""


_HALF_MADE = (".new-", ".deleted-")
"""Sessions that were being made or deleted (`store/sessions.py`)."""
_A_DAY_S = 86_400.0


def clear_root(root: Path) -> None:
    """Remove what has been half a session for a day: nobody is still at work on it."""
    with contextlib.suppress(OSError):
        for folder in root.iterdir():
            half = folder.name.startswith(_HALF_MADE) and not folder.is_symlink()
            if half and time.time() - folder.stat().st_mtime > _A_DAY_S:
                shutil.rmtree(folder, ignore_errors=True)


def clear(paths: SessionPaths) -> None:
    """Only for who holds the session's lock. What cannot be removed stays."""
    old = paths.adapter.with_name(f".{paths.adapter.name}.old")
    new = paths.adapter.with_name(f".{paths.adapter.name}.new")
    with contextlib.suppress(OSError):
        if old.is_dir() and not paths.adapter.exists():
            # It had made room for a newer one that never came.
            old.rename(paths.adapter)
    for folder in (old, new):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for path in paths.folder.iterdir():
            if _BESIDE.fullmatch(path.name) and path.is_file():
                path.unlink()
    with contextlib.suppress(OSError):
        for path in paths.checkpoints.iterdir():
            if path.name.startswith(".") and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
