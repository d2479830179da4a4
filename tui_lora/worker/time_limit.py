"""Limits on foreign code: a chat template may loop for ever, and a row may be a library."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

MOST_CHARS = 2_000_000
"""Of a row that is written as tokens while a viewer waits, which takes seconds: it is done in Rust,
where no alarm is heard."""


def chars_in(value: Any) -> int:
    """The characters of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(chars_in, value.values()))
    return sum(map(chars_in, value)) if isinstance(value, list) else 0


class TookTooLong(BaseException):
    """Not an Exception, so that no library takes it for one of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TookTooLong inside once `seconds` have passed. Only in the main thread; elsewhere
    there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def passed(number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, passed)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
