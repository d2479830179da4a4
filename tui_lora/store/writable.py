"""Whether a session's folder takes what its worker writes, tried before that is started."""

from __future__ import annotations

import tempfile

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import SessionPaths

_TRIAL_BYTES = 1 << 14
"""A worker writes down who it is, how it began and how it ended in less."""


def must_take_files(paths: SessionPaths) -> None:
    """Raises UserError where a small file cannot be written into a session's folder."""
    try:
        # A name of its own: what somebody else's session brings is not written over.
        with tempfile.NamedTemporaryFile(dir=paths.folder, prefix=".trial.") as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
    except OSError as error:
        raise UserError(
            f"{paths.name} cannot be written to {clean(str(paths.folder))}: {error.strerror}.",
            then="Make room there, or copy the session into another place and start it there: "
            "--sessions FOLDER",
        ) from None
