"""Status is derived: a table of what the disk says and what that means."""

from typing import get_args

import pytest

from tui_lora.core.events import Result, Verdict
from tui_lora.core.status import HEARTBEAT_GRACE_S, Evidence, Status, derive

NOW = 1000.0


def result(attempt: int, verdict: Verdict = "done") -> Result:
    return Result(attempt=attempt, verdict=verdict, step=1)


@pytest.mark.parametrize(
    ("evidence", "status"),
    [
        (Evidence(False, None, None), Status.DRAFT),
        (Evidence(False, 1, None), Status.INTERRUPTED),
        (Evidence(False, 1, result(1)), Status.DONE),
        (Evidence(False, 1, result(1, "stopped")), Status.STOPPED),
        (Evidence(False, 1, result(1, "out_of_memory")), Status.OUT_OF_MEMORY),
        # a result of an earlier attempt does not count
        (Evidence(False, 2, result(1)), Status.INTERRUPTED),
        # the events were lost, the result was not
        (Evidence(False, None, result(3, "failed")), Status.FAILED),
        (Evidence(False, 2, result(3, "failed")), Status.FAILED),
        # a held lock outweighs all that is written
        (Evidence(True, None, None), Status.RUNNING),
        (Evidence(True, 1, result(1)), Status.RUNNING),
        (Evidence(True, 1, None, NOW - HEARTBEAT_GRACE_S), Status.RUNNING),
        (Evidence(True, 1, None, NOW - HEARTBEAT_GRACE_S - 1), Status.QUIET),
        (Evidence(True, 1, None, NOW, holding=True), Status.HOLDING),
        (Evidence(True, 1, None, NOW - 999, holding=True), Status.QUIET),
        (Evidence(False, 1, None, holding=True), Status.INTERRUPTED),
        # waiting for its turn outweighs what it came to before, unless it is finished
        (Evidence(False, None, None, queued=True), Status.QUEUED),
        (Evidence(False, 1, result(1, "paused"), queued=True), Status.QUEUED),
        (Evidence(False, 1, None, queued=True), Status.QUEUED),
        (Evidence(False, 1, result(1), queued=True), Status.DONE),
        (Evidence(True, 1, None, queued=True), Status.RUNNING),
        # a promise of a worker that is gone means nothing
        (Evidence(False, 1, None, NOW - 999), Status.INTERRUPTED),
    ],
)
def test_status(evidence: Evidence, status: Status) -> None:
    assert derive(evidence, NOW) is status


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_is_a_status(verdict: Verdict) -> None:
    assert derive(Evidence(False, 1, result(1, verdict)), NOW) == verdict.replace("_", " ")


def test_what_runs_or_is_done_is_not_resumed() -> None:
    alive = {Status.RUNNING, Status.HOLDING, Status.QUIET}
    assert {status for status in Status if not status.resumable} == alive | {Status.DONE}
    assert {status for status in Status if status.alive} == alive
