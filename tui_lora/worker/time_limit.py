"""Limits on foreign code: a chat template may loop for ever, and a row may be a library."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

MOST_CHARS = 2_000_000
"""Of a row that is written as tokens while a viewer waits, which takes seconds: it is done in Rust,
where no alarm is heard."""

_NEXT_TO_NOTHING_S = 1e-4
"""What is left of a limit around another one that took all of it; 0 would be no limit."""


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
    there is no limit. Inside another limit, the one that ends first holds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def passed(number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, passed)
    around, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    began = time.monotonic()
    try:
        if 0 < around < seconds:
            signal.setitimer(signal.ITIMER_REAL, around)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if around:
            left = around - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, _NEXT_TO_NOTHING_S))
