"""Who waits for a card and what runs on it, as it stands now: looked up, nothing changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.queue import CPU, Turn, card_of
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import queue_path, read_queue, somebody_starts
from tui_lora.store.spec_now import spec_now

ENDED_BEFORE = "it was to start, and whoever was to start it ended before that"

STALLED_S = 20.0
"""So long after the last sign of a run the next one should have begun."""


def card_for(paths: SessionPaths) -> str:
    """The card that a session wants, as seen from here. Raises UserError for a bad spec."""
    return card_of(spec_now(paths).hardware.devices, os.environ.get("CUDA_VISIBLE_DEVICES"))


def busy_with(root: Path, card: str) -> str | None:
    """The name of a session that runs on a card now; None where none does.

    Never ask this in a train worker: looking at its own session would drop its lock.
    """
    for paths in sessions.running(root):
        try:
            if _runs_on(paths) == card:
                return paths.name
        except UserError:  # its spec was spoiled since it began; it may hold any card
            return paths.name
    return None


def turns(root: Path) -> dict[str, Turn]:
    """How each session that waits does so."""
    queue = read_queue(root)
    found: dict[str, Turn] = {}
    for card in queue.cards():
        idle = stalled(root, card)
        for place, entry in enumerate(queue.line(card), 1):
            found[entry.name] = Turn(place, card, idle)
    return found


def not_started(root: Path) -> dict[str, str]:
    """Why sessions whose turn it was have not started, by name."""
    queue = read_queue(root)
    found = dict(queue.refused)
    if queue.starting and not somebody_starts(root):
        # Who still does so holds the lock; who has done it has said so before he let go.
        after = read_queue(root).starting
        for name, since in queue.starting.items():
            seen = sessions.touched(SessionPaths(root / name))
            if after.get(name) == since and seen is not None and seen < since:
                found[name] = ENDED_BEFORE
    return found


def stalled(root: Path, card: str) -> bool:
    """Whether sessions wait for a card though nothing runs there: the worker before them was
    killed or paused, or the machine went down. A hand-over takes a moment, which is none."""
    if read_queue(root).next_for(card) is None or busy_with(root, card) is not None:
        return False
    ended = [p for p in sessions.listed(root) if lock.holder(p.lock) is None]
    signs = [sessions.touched(paths) for paths in ended]
    try:
        signs.append(queue_path(root).stat().st_mtime)
    except OSError:
        return False
    return time.time() - max(sign for sign in signs if sign is not None) > STALLED_S


def _runs_on(paths: SessionPaths) -> str:
    """The card of a session that runs: as its worker said, else as its spec has it."""
    said = sessions.read_worker(paths)
    card = said.get("card")
    if isinstance(card, str) and said.get("pid") == lock.holder(paths.lock):
        return card or CPU
    return card_for(paths)
