"""Sessions that run one after another on a card.

There is no daemon: a worker that ends lets the next one start, and where none runs, whoever queues
does.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.queue import Moved, Queue, Queued, Refused, Removed
from tui_lora.core.status import Status
from tui_lora.core.text import one_line
from tui_lora.store import launch, lock, runs, sessions
from tui_lora.store.hooks import SETTING, Unconfirmed
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import forget, one_at_a_time, read_queue, say, take
from tui_lora.store.queue_now import busy_with, card_for

_LEAVING_S = 20.0


def put_in(root: Path, paths: SessionPaths) -> str:
    """Let a session wait for its turn, or start it at once where nothing runs on its card.

    Returns what became of it, for people. Raises UserError when it runs already, is finished, or
    could not start as it is.
    """
    status = sessions.status_of(paths)
    if status.alive:
        raise UserError(f"{paths.name} is running already.")
    if status is Status.DONE:
        raise UserError(
            f"{paths.name} is finished, so there is nothing to wait for.",
            then="Duplicate it to run it again with other settings.",
        )
    if read_queue(root).entry(paths.name) is not None:
        return f"{paths.name} waits already: {_before(read_queue(root), paths.name)}."
    runs.check(paths)
    card = card_for(paths)
    say(root, Queued, paths.name, card=card)
    started = start_next(root, card) if is_free(root, card) else None
    if started == paths.name:
        return f"{paths.name} has started: nothing else runs on its card."
    queue = read_queue(root)
    if queue.entry(paths.name) is not None:
        _guard(root, card)
        first = f"{started} has started; " if started is not None else ""
        return f"{first}{paths.name} waits for its turn: {_before(queue, paths.name)}."
    why = queue.refused.get(paths.name)
    return f"{paths.name} could not start: {why}" if why else f"{paths.name} has started."


def take_out(root: Path, name: str) -> None:
    """Let a session wait no more. Raises UserError where it does not."""
    if read_queue(root).entry(name) is None:
        raise UserError(f"{name} does not wait in the queue.")
    say(root, Removed, name)


def move(root: Path, name: str, by: int) -> int:
    """Move a session `by` places towards the end of its card's line, or the front where negative;
    returns its place there. Raises UserError where it does not wait.
    """
    queue = read_queue(root)
    entry, place = queue.entry(name), queue.place(name)
    if entry is None or place is None:
        raise UserError(f"{name} does not wait in the queue.")
    others = [other.name for other in queue.line(entry.card) if other.name != name]
    at = min(max(0, place - 1 + by), len(others))
    if at != place - 1:
        say(root, Moved, name, before=others[at] if at < len(others) else None)
    return read_queue(root).place(name) or place


def start_next(root: Path, card: str) -> str | None:
    """Start whoever's turn it is on a card, where nothing runs on it; returns its name, None where
    nobody is started.

    One that cannot be started is said to be refused, and the next has its turn; one that is
    finished by now is passed over. Of several processes that ask at once one alone starts a
    session. Raises UserError where the queue cannot be written: what is not written down as
    started is not started, or it would be again and again.
    """
    with one_at_a_time(root):
        if busy_with(root, card) is not None:
            return None
        while (entry := read_queue(root).next_for(card)) is not None:
            if not take(root, entry):
                continue
            try:
                paths = sessions.find(root, entry.name)
                if sessions.status_of(paths) is not Status.DONE:
                    runs.resume(paths, card=card)
                    return entry.name
                forget(root, entry.name)
            except Exception as error:  # noqa: BLE001 (it must not keep the others from their turn)
                say(root, Refused, entry.name, why=one_line(_why(error), max_chars=400))
    return None


def start_all(root: Path) -> list[str]:
    """Start whoever's turn it is on each card on which nothing runs; returns their names. Raises
    UserError."""
    started = [start_next(root, card) for card in read_queue(root).cards()]
    return [name for name in started if name is not None]


def is_free(root: Path, card: str) -> bool:
    """Whether nothing runs on a card. What has said its last word and now leaves is waited for: its
    worker looked into the queue for the last time before that."""
    deadline = time.monotonic() + _LEAVING_S
    while (name := busy_with(root, card)) is not None:
        result = sessions.read_result(SessionPaths(root / name))
        over = result is not None and result.attempt == sessions.last_attempt(
            SessionPaths(root / name)
        )
        if not over or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _guard(root: Path, card: str) -> None:
    """Let the queue go on also where who runs on the card now is killed."""
    name = busy_with(root, card)
    if name is None:
        return
    paths = SessionPaths(root / name)
    pid = lock.holder(paths.lock) or 0
    with suppress(OSError):  # Sessions says so where nobody goes on
        if pid > 1:
            launch.guard_queue(paths, card, pid)


def _why(error: Exception) -> str:
    if isinstance(error, Unconfirmed):
        return (
            f"the command that it ends with ({SETTING}) was not confirmed on this machine; put it "
            "in again, which asks about it."
        )
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _before(queue: Queue, name: str) -> str:
    place = queue.place(name) or 1
    return "it is next" if place == 1 else f"{place - 1} before it"
