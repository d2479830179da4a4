"""Starts the next session of a queue when the worker before it is gone.

Either that worker has it started as its last deed, having thought about whether the queue goes on;
or this process has waited for its end all along, and goes on in its place where it was killed or
crashed. It may wait for days: what is not needed for that is imported afterwards.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tui_lora.store import lock
from tui_lora.store.gone import wait_until_gone

_LOOK_EVERY_S = 0.05


def main(arguments: list[str]) -> int:
    """Wait for a worker's end, then start whoever's turn it is."""
    parser = argparse.ArgumentParser(prog="tui_lora.worker next")
    parser.add_argument("root", type=Path, help="the sessions root")
    parser.add_argument("--card", required=True, help="whose line it is: cpu, an index or a UUID")
    parser.add_argument("--after", type=int, required=True, help="the process that has to be gone")
    parser.add_argument("--guard", help="its session: only where it leaves without a word")
    asked = parser.parse_args(arguments)
    if asked.guard is None:
        # The worker that started this one ends.
        while os.getppid() == asked.after:
            time.sleep(_LOOK_EVERY_S)
        return _go_on(asked.root, asked.card)
    return _guard(asked.root, asked.card, asked.after, asked.root / asked.guard)


def _guard(root: Path, card: str, pid: int, session: Path) -> int:
    try:
        # One for each attempt: its worker.json is its own.
        with lock.alone(session / "worker.json", 0.0):
            wait_until_gone(pid)
    except TimeoutError:
        return 0
    except OSError as error:
        _say(f"the queue would not go on if this run were killed: {error.strerror}")
        return 1
    from tui_lora.store.last_word import without_a_word

    why_not = without_a_word(session, pid)
    if why_not is None:
        return _go_on(root, card)
    if why_not:
        _say(f"the queue waits, since {why_not}; `tui-lora queue start` lets it go on")
    return 0


def _go_on(root: Path, card: str) -> int:
    from tui_lora.core.errors import UserError
    from tui_lora.core.queue import card_words
    from tui_lora.store import queue

    try:
        # A child gets another parent when all threads of its own are ending; the last of them may
        # take a moment more, and lets go of lock and card only then.
        free = queue.is_free(root, card)
        started = queue.start_next(root, card) if free else None
    except UserError as error:
        _say(f"the queue does not go on by itself: {error}")
        return 1
    if started is not None:
        _say(f"the queue goes on: {started} has started on {card_words(card)}")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
