"""The ends of a log that grows: each look finds what a fresh one would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import recorded
from tui_lora.core.events import AttemptStarted, Event, SpecChanged
from tui_lora.store import log_ends
from tui_lora.store.log_ends import HEAD_BYTES, TAIL_BYTES, LogEnds

TOTAL = 100_000


def test_what_stood_between_is_remembered_while_the_log_grows(tmp_path: Path) -> None:
    paths = recorded.make_session(tmp_path)
    ends = LogEnds(paths.events)
    assert ends.read() == ([], 0)
    seq = 1 + recorded.write(paths, recorded.opening(TOTAL))
    step = 0
    changed: list[Event] = [SpecChanged(changes={"training.learning_rate": 1e-5})]
    for number in range(12):
        more: list[Event] = [AttemptStarted(attempt=2, pid=1)] if number == 3 else []
        more += changed if number in (1, 6) else []
        steps = recorded.steps(step + 1, step + 200, TOTAL, every=150)
        seq += recorded.write(paths, iter(more), steps, first=seq)
        step += 200
        assert ends.read() == LogEnds(paths.events).read(), f"at step {step}"
    assert paths.events.stat().st_size > 3 * (HEAD_BYTES + TAIL_BYTES)


def test_another_log_in_its_place_brings_nothing_of_the_first(tmp_path: Path) -> None:
    paths, other = recorded.make_session(tmp_path), recorded.make_session(tmp_path, "other")
    for session, attempt, steps in ((paths, 7, 1500), (other, 1, 3000)):
        opening = recorded.opening(TOTAL, attempt)
        recorded.write(session, opening, recorded.steps(1, steps, TOTAL, every=400))
    ends = LogEnds(paths.events)
    ends.read()
    other.events.replace(paths.events)
    assert ends.read() == LogEnds(paths.events).read()


def test_only_new_lines_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = 0

    def counted(path: Path, needle: bytes, *, after: int, before: int) -> object:
        nonlocal searched
        searched += before - after
        return really(path, needle, after=after, before=before)

    really = log_ends.last_line_with
    monkeypatch.setattr(log_ends, "last_line_with", counted)
    paths = recorded.make_session(tmp_path)
    seq = 1 + recorded.write(paths, recorded.opening(TOTAL), recorded.steps(1, 3000, TOTAL))
    ends = LogEnds(paths.events)
    ends.read()
    at_first, searched = searched, 0
    before = paths.events.stat().st_size
    recorded.write(paths, recorded.steps(3001, 3010, TOTAL), first=seq)
    ends.read()
    # A line may lie half in the window of the tail, once more or less.
    new = paths.events.stat().st_size - before
    assert 0 < searched < 5 * (new + 1000)
    assert at_first > 50 * searched
