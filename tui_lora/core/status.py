"""What a session is doing: always derived from its files and its lock, never stored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui_lora.core.events import Result

HEARTBEAT_GRACE_S = 10.0


class Status(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    RUNNING = "running"
    HOLDING = "holding"
    QUIET = "quiet"
    INTERRUPTED = "interrupted"
    DONE = "done"
    STOPPED = "stopped"
    PAUSED = "paused"
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"

    @property
    def alive(self) -> bool:
        return self in (Status.RUNNING, Status.HOLDING, Status.QUIET)

    @property
    def resumable(self) -> bool:
        """Whether starting again makes sense (from a checkpoint, or from the start)."""
        return not self.alive and self is not Status.DONE


@dataclass(frozen=True)
class Evidence:
    """What the disk says. `next_sign_t`: unix seconds by which the worker promised to be heard;
    `holding`: it said that it waits; `queued`: the session stands in its root's queue."""

    lock_held: bool
    attempt: int | None
    result: Result | None
    next_sign_t: float | None = None
    holding: bool = False
    queued: bool = False


def derive(evidence: Evidence, now: float) -> Status:
    """The status at `now` (unix seconds).

    A held lock says alive, whatever else stands there; a result counts only for the latest attempt.
    """
    if evidence.lock_held:
        promised = evidence.next_sign_t
        overdue = promised is not None and now > promised + HEARTBEAT_GRACE_S
        if overdue:
            return Status.QUIET
        return Status.HOLDING if evidence.holding else Status.RUNNING
    result = evidence.result
    if result is not None and evidence.attempt is not None and result.attempt < evidence.attempt:
        result = None
    if evidence.queued and (result is None or result.verdict != "done"):
        return Status.QUEUED
    if result is not None:
        return Status(result.verdict.replace("_", " "))
    return Status.DRAFT if evidence.attempt is None else Status.INTERRUPTED
