"""Whether a worker that is gone said what its attempt came to, or was killed before that."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.orders import Pause
from tui_lora.core.view import RunView
from tui_lora.store import sessions
from tui_lora.store.hooks import HOOK_PHASE
from tui_lora.store.journal import Tail
from tui_lora.store.orders import waiting
from tui_lora.store.paths import SessionPaths


def without_a_word(session: Path, pid: int) -> str | None:
    """None where the queue may go on in the place of process `pid`; else why not, which is empty
    where it had its last word and has seen to the queue itself."""
    paths, view = SessionPaths(session), RunView()
    tail = Tail(paths.events)
    while lines := tail.read():
        sessions.fold(lines, view)
    result = sessions.read_result(paths)
    over = view.verdict is not None or (result is not None and result.attempt == view.attempt)
    # The word of an attempt before is not its own.
    if over and view.pid == pid:
        if view.phase is None or view.phase.name != HOOK_PHASE:
            return ""
        # It sees to the queue when its command is over, and was killed before that.
        if view.verdict == "paused":
            return f"{paths.name} was paused, for the card to be free"
    if any(isinstance(order, Pause) for order in waiting(paths, view)):
        return f"{paths.name} was to be paused, for the card to be free"
    return None
