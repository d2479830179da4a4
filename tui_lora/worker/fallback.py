"""A checkpoint that is whole and cannot be loaded: the one before it is taken instead."""

from __future__ import annotations

from tui_lora.store.checkpoints import Checkpoint, newest_whole
from tui_lora.store.paths import SessionPaths


class CannotLoad(Exception):
    """A run cannot go on from its checkpoint: `why`, the end of a sentence."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def the_one_before(
    paths: SessionPaths, checkpoint: Checkpoint, error: CannotLoad
) -> tuple[Checkpoint | None, str]:
    """The checkpoint to go on from instead, and what to tell of it. Without one nothing begins
    anew by itself: hours may be in the one that cannot be loaded."""
    found, _ = newest_whole(paths.checkpoints, checkpoint.step)
    name = checkpoint.folder.name
    if found is not None:
        return found, (
            f"passed over checkpoint {name}: {error.why}; the run loads anew and goes on from step "
            f"{found.step:,}"
        )
    return None, (
        f"checkpoint {name} is whole as it was written, but {error.why}, and there is no other "
        f"before it. To begin anew, move it away: {checkpoint.folder}"
    )
