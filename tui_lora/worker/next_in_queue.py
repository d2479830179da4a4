"""Starts the next session of a queue when the worker before it is gone."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.queue import card_words
from tui_lora.store import queue

_LOOK_EVERY_S = 0.05


def main(arguments: list[str]) -> int:
    """Wait for the end of the process that started this one, then start whoever's turn it is."""
    parser = argparse.ArgumentParser(prog="tui_lora.worker next")
    parser.add_argument("root", type=Path, help="the sessions root")
    parser.add_argument("--card", required=True, help="whose line it is: cpu, an index or a UUID")
    parser.add_argument("--after", type=int, required=True, help="the process that has to be gone")
    asked = parser.parse_args(arguments)
    while os.getppid() == asked.after:
        time.sleep(_LOOK_EVERY_S)
    try:
        # A child gets another parent when all threads of its own are ending; the last of them may
        # take a moment more, and lets go of lock and card only then.
        free = queue.is_free(asked.root, asked.card)
        started = queue.start_next(asked.root, asked.card) if free else None
    except UserError as error:
        _say(f"the queue does not go on by itself: {error}")
        return 1
    if started is not None:
        _say(f"the queue goes on: {started} has started on {card_words(asked.card)}")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
