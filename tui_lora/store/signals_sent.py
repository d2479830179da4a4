"""Reads what viewers noted of the signals that they sent (`store/signalled.py`), so that all of
them stand on one rung of the ladder."""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass

from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths

REMEMBERED = 50


@dataclass(frozen=True)
class Sent:
    """A signal by its name (`SIGTERM`), and when it was sent, in unix seconds."""

    name: str
    t: float


class SignalsSent:
    """Those in a session's notes.jsonl; `look` takes in what came since the last call."""

    def __init__(self, paths: SessionPaths) -> None:
        self._tail = Tail(paths.notes)
        self._sent: deque[Sent] = deque(maxlen=REMEMBERED)

    def look(self) -> bool:
        """Whether there were new ones."""
        found = False
        while lines := self._tail.read():
            if self._tail.restarted:
                self._tail.restarted = False
                self._sent.clear()
            read = [sent for line in lines if (sent := _read(line)) is not None]
            self._sent.extend(read)
            found = found or bool(read)
        return found

    def since(self, began: float | None) -> tuple[Sent, ...]:
        """Those to a worker that began then (unix seconds), the oldest first."""
        return tuple(sent for sent in self._sent if began is not None and sent.t >= began)


def sent_since(paths: SessionPaths, began: float | None) -> tuple[Sent, ...]:
    """The signals that viewers sent to a worker which began then (unix seconds)."""
    signals = SignalsSent(paths)
    signals.look()
    return signals.since(began)


def _read(line: bytes) -> Sent | None:
    """None for any other note, and for what is none."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("type") != "signalled":
        return None
    name, t = told.get("name"), told.get("t")
    if name not in ("SIGTERM", "SIGKILL") or isinstance(t, bool):
        return None
    if not isinstance(t, int | float) or not math.isfinite(t):
        return None
    return Sent(name, float(t))
