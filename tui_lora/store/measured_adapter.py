"""Which adapter an evaluation measured: a session's own is another one once its run has gone on."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from tui_lora.core.events import EVENTS, AdapterSaved
from tui_lora.store.adapter_files import CONFIG, WEIGHTS
from tui_lora.store.checkpoints import folder_name
from tui_lora.store.file_marks import digest_of
from tui_lora.store.journal import last_line_with
from tui_lora.store.paths import SessionPaths


def folder_of(paths: SessionPaths, step: int | None) -> Path:
    """Where the adapter of an evaluation stands: that of a checkpoint, or the session's own."""
    return paths.adapter if step is None else paths.checkpoints / folder_name(step)


def mark_of(adapter: Path) -> str:
    """Another one as soon as its weights or what they are for are others; empty where they cannot
    be read. Of large weights only samples are read (`store.file_marks`)."""
    digests = [_digest(adapter / name) for name in (CONFIG, WEIGHTS)]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if all(digests) else ""


def trained_to(paths: SessionPaths, step: int | None) -> int | None:
    """The step that the adapter was trained to; None where the log does not say."""
    if step is not None:
        return step
    try:
        size = paths.events.stat().st_size
    except OSError:
        return None
    found = last_line_with(paths.events, b'"adapter_saved"', after=0, before=size)
    saved = EVENTS.decode(found[1]).message if found is not None else None
    return saved.step if isinstance(saved, AdapterSaved) else None


def _digest(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return ""
    return _digest_then(file, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_then(file: Path, size_bytes: int, changed_ns: int) -> str:
    """Read again only where size or time say that it was written since."""
    return digest_of(file)
