"""A session's folder for a run that leaves nothing behind."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.store import lock
from tui_lora.store.paths import SessionPaths

PREFIX = "tui-lora-fit-"
_YOUNG_S = 60.0
"""One that is younger may be about to be locked."""


def make() -> SessionPaths:
    """A new one in the folder for temporary files; those of workers that were killed go first.

    Raises OSError.
    """
    _sweep(Path(tempfile.gettempdir()))
    paths = SessionPaths(Path(tempfile.mkdtemp(prefix=PREFIX)))
    with suppress(UserError):  # a disk that locks no files
        lock.hold(paths.lock)
    return paths


def remove(paths: SessionPaths) -> None:
    """Remove it with all that is in it; never raises."""
    shutil.rmtree(paths.folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            old = time.time() - folder.stat().st_mtime > _YOUNG_S
            if old and lock.holder(SessionPaths(folder).lock) is None:
                shutil.rmtree(folder, ignore_errors=True)
