"""Checkpoints pinned by hand: notes of viewers in notes.jsonl, which the worker reads before it
makes room."""

from __future__ import annotations

import json
import time

from tui_lora.core.errors import UserError
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.paths import SessionPaths


def pinned(paths: SessionPaths) -> frozenset[int]:
    """The steps whose checkpoints are pinned; what cannot be read counts for nothing."""
    steps: set[int] = set()
    tail = Tail(paths.notes)
    while lines := tail.read():
        for line in lines:
            try:
                note = json.loads(line)
            except (ValueError, RecursionError):
                continue
            step = note.get("step") if isinstance(note, dict) else None
            if type(step) is not int:
                continue
            if note.get("type") == "pin":
                steps.add(step)
            elif note.get("type") == "unpin":
                steps.discard(step)
    return frozenset(steps)


def pin(paths: SessionPaths, step: int, *, wanted: bool = True) -> None:
    """Keep the checkpoint of a step whatever else is deleted, or no longer. Raises UserError."""
    note = {"v": 1, "t": round(time.time(), 3), "type": "pin" if wanted else "unpin", "step": step}
    try:
        append_line(paths.notes, json.dumps(note) + "\n")
    except OSError as error:
        raise UserError(
            f"the pin could not be written: {error.strerror}.", where=str(paths.notes)
        ) from None
