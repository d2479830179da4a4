"""What a session's model answered on the way: evaluations/peeks.jsonl, appended by its worker."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.peek import PeekAnswer
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.paths import SessionPaths

NAME = "peeks.jsonl"
_MOST_BYTES = 64 << 20
"""What is more than that is not read: 100 rounds of 20 long answers are a quarter of it."""


def path_of(paths: SessionPaths) -> Path:
    return paths.evaluations / NAME


def keep(paths: SessionPaths, answer: PeekAnswer) -> None:
    """Append an answer; raises OSError. One process at a time does: the session's worker."""
    paths.evaluations.mkdir(mode=0o700, exist_ok=True)
    append_line(path_of(paths), answer.model_dump_json(exclude_defaults=True) + "\n")


def read(paths: SessionPaths) -> tuple[PeekAnswer, ...]:
    """Every answer in the order in which it was given; a line that cannot be read is passed over,
    and a session without any has none."""
    tail = Tail(path_of(paths))
    found: list[PeekAnswer] = []
    while tail.offset < _MOST_BYTES and (lines := tail.read()):
        for line in lines:
            try:
                found.append(PeekAnswer.model_validate_json(line))
            except ValueError:
                continue
    return tuple(found)


def answer_to(paths: SessionPaths, order: str) -> tuple[PeekAnswer | None, PeekAnswer | None]:
    """The adapter's answer to an order, and the base's to the same question; None where there is
    none."""
    every = read(paths)
    mine = next((one for one in reversed(every) if one.order == order and not one.base), None)
    if mine is None:
        return None, None
    base = next((one for one in reversed(every) if one.base and one.key == mine.key), None)
    return mine, base
