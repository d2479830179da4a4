"""What the fetch worker says to its viewer: a model of the Hub on its way to this machine.

It is told what to fetch by its arguments, and called off by closing its input.
"""

from __future__ import annotations

from typing import ClassVar

from tui_lora.core.wire import Message, Wire


class ToFetch(Message):
    pass


class FromFetch(Message):
    pass


class FetchPlanned(FromFetch):
    """What is to be fetched. `here_bytes` of it came with an earlier fetch."""

    type: ClassVar[str] = "planned"
    files: int
    total_bytes: int
    here_bytes: int


class FetchProgressed(FromFetch):
    """`done_bytes` of the plan's total are here, those of earlier fetches included."""

    type: ClassVar[str] = "progressed"
    done_bytes: int
    bytes_per_s: float | None = None


class FetchPaused(FromFetch):
    """The line broke, or somebody else fetches the same; it goes on by itself.

    `retry_s` is when; None when that is not up to us.
    """

    type: ClassVar[str] = "paused"
    why: str
    retry_s: float | None = None


class Fetched(FromFetch):
    """All of it is here, in the folder `place` of the Hub's cache."""

    type: ClassVar[str] = "fetched"
    place: str
    total_bytes: int
    seconds: float


class FetchFailed(FromFetch):
    """It will not come. `then` says what to do about it."""

    type: ClassVar[str] = "failed"
    message: str
    then: str = ""


TO_FETCH: Wire[ToFetch] = Wire()
FROM_FETCH: Wire[FromFetch] = Wire(FetchPlanned, FetchProgressed, FetchPaused, Fetched, FetchFailed)
