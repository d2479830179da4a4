"""What a killed worker left half-done in its session: put back or removed by the next one, which
alone writes there."""

from __future__ import annotations

import contextlib
import re
import shutil

from tui_lora.store.paths import SessionPaths

_BESIDE = re.compile(r"\..+\.\d+")
"""A file that was to take another's place (`atomic.write_whole`)."""


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
