"""Notes down in a session that a viewer sends its worker a signal, before it is sent: so that the
worker and every other viewer know whose it was (`store/signals_sent.py` reads them)."""

from __future__ import annotations

import contextlib
import json
import time

from tui_lora.store.journal import append_line
from tui_lora.store.paths import SessionPaths


def note(paths: SessionPaths, name: str) -> None:
    """Say that the signal `name` (SIGTERM) is sent now. A disk that takes no note keeps nobody from
    ending a run."""
    told = {"v": 1, "t": round(time.time(), 3), "type": "signalled", "name": name}
    with contextlib.suppress(OSError):
        append_line(paths.notes, json.dumps(told) + "\n")
