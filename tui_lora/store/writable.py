"""Whether a session's folder takes what its worker writes, tried before that is started."""

from __future__ import annotations

import os

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import SessionPaths

_TRIAL_BYTES = 1 << 14
"""A worker writes down who it is, how it began and how it ended in less."""


def must_take_files(paths: SessionPaths) -> None:
    """Raises UserError where a small file cannot be written into a session's folder."""
    trial = paths.folder / f".trial.{os.getpid()}"
    try:
        try:
            trial.write_bytes(bytes(_TRIAL_BYTES))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{paths.name} cannot be written to {clean(str(paths.folder))}: {error.strerror}.",
            then="Make room there, or copy the session into another place and start it there: "
            "--sessions FOLDER",
        ) from None
