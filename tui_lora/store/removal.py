"""Deleting a checkpoint by hand: never the last one that a run could go on from."""

from __future__ import annotations

from tui_lora.core.errors import UserError
from tui_lora.core.status import Status
from tui_lora.store.checkpoints import checkpoints, damage, remove
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import status_of


def remove_checkpoint(paths: SessionPaths, step: int) -> None:
    """Delete the checkpoint of a step. Raises UserError where it is not there, where it is the last
    whole one of a run that is not finished, or the newest of one that lives and may be loading it.
    """
    there = checkpoints(paths.checkpoints)
    found = next((one for one in there if one.step == step), None)
    if found is None:
        raise UserError(f"there is no checkpoint of step {step:,} any more.")
    status = status_of(paths)
    whole = damage(found.folder) is None
    if whole and status.alive and found == there[-1]:
        raise UserError(
            f"that of step {step:,} is the newest, and the run goes on from it if it is resumed.",
            then="It can go when the next one is saved.",
        )
    if whole and status is not Status.DONE:
        others = (one for one in reversed(there) if one != found)
        if all(damage(one.folder) is not None for one in others):
            raise UserError(
                f"that of step {step:,} is the last whole one: without it the run would begin anew."
            )
    try:
        remove(found.folder)
    except OSError as error:
        raise UserError(
            f"the checkpoint of step {step:,} could not be deleted: {error.strerror}.",
            where=str(found.folder),
        ) from None
