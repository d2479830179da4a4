"""The end of a run lets the next session of the queue have its card.

A process of its own starts it, once this one is gone: until then the card's memory and the
session's lock are held, and to look at one's own lock is to drop it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from tui_lora.core.events import Verdict
from tui_lora.core.queue import card_of
from tui_lora.store import launch
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import read_queue
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.reporter import Reporter


class HandingOn:
    """Asked twice: `announce` before the attempt's last word, `begin` after it. What goes wrong
    here stands in worker.log and never hurts the run that ends.

    `environment` is what the worker was started with.
    """

    def __init__(self, paths: SessionPaths, environment: Mapping[str, str]) -> None:
        self._root, self._log = paths.folder.parent, paths.log
        self._environment = environment
        self._card = card_of("auto", environment.get("CUDA_VISIBLE_DEVICES"))
        self._why_not = ""

    def announce(self, verdict: Verdict, inbox: Inbox, reporter: Reporter) -> None:
        """Say in the log who is next, or why the queue waits."""
        if inbox.terminated:
            self._why_not = "the system ended this run"
        elif verdict == "paused":
            self._why_not = "a run that is paused wants its card back"
        elif inbox.ending == "pause":
            self._why_not = "this run was to be paused, for the card to be free"
        try:
            following = read_queue(self._root).next_for(self._card)
            if following is not None and self._why_not:
                how = "`tui-lora queue start` lets it go on"
                reporter.notice(
                    f"the queue waits, since {self._why_not}: {following.name} is next, and {how}",
                    "warning",
                )
            elif following is not None:
                reporter.notice(f"next in the queue: {following.name}")
        except Exception as error:  # noqa: BLE001
            _log(error)

    def begin(self) -> None:
        """Let whoever is next by now start when this process is gone.

        Looked up again: who was put in since the announcement and saw this run would wait for it.
        """
        try:
            if not self._why_not and read_queue(self._root).next_for(self._card) is not None:
                launch.start_when_gone(self._root, self._card, self._environment, self._log)
        except Exception as error:  # noqa: BLE001
            _log(error)


def guard(paths: SessionPaths, environment: Mapping[str, str]) -> None:
    """Where somebody waits for this worker's card already, let the queue go on also if it is
    killed; who is put in later sees to that then. `environment` as above."""
    try:
        card = card_of("auto", environment.get("CUDA_VISIBLE_DEVICES"))
        if read_queue(paths.folder.parent).next_for(card) is not None:
            launch.guard_queue(paths, card, os.getpid(), environment)
    except Exception as error:  # noqa: BLE001
        _log(error)


def _log(error: Exception) -> None:
    text = f"the queue does not go on by itself ({type(error).__name__}: {error})"
    print(text, file=sys.stderr)  # noqa: T201


def my_card() -> str | None:
    """What worker.json says of the card: CUDA_VISIBLE_DEVICES, empty without one; None: not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")
