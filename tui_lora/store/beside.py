"""A folder that is made beside the one whose name it gets once it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.launch import lives


@contextlib.contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A folder next to `out` to work in, gone afterwards unless it was renamed. What processes that
    are gone left of theirs is swept away. Raises UserError where it cannot be written, or a file
    elsewhere not be read that it is made of."""
    sweep(out)
    beside = partial_of(out)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(mode=0o700)
        yield beside
    except OSError as error:
        if error.errno is None:
            raise  # no word of the system's: a library's own
        named = error.filename if isinstance(error.filename, str) else None
        # Of the working folder, of `out`, or of what stood there before.
        ours = (f".{out.name}.", out.name)
        if named is not None and not str(Path(named)).startswith(
            tuple(str(out.with_name(name)) for name in ours)
        ):
            raise UserError(f"{clean(named)} cannot be read: {error.strerror}.") from None
        raise UserError(f"{clean(str(out.parent))} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def partial_of(out: Path) -> Path:
    """Where this process works at `out`."""
    return out.parent / f".{out.name}.{os.getpid()}.partial"


def sweep(out: Path) -> None:
    """Remove what was begun for `out` by processes that are no more."""
    with contextlib.suppress(OSError):
        for left in out.parent.glob(f".{out.name}.*.partial"):
            if not _lives(left):
                shutil.rmtree(left, ignore_errors=True)


def _lives(partial: Path) -> bool:
    """Whether the process that works in this folder is still there."""
    try:
        pid = int(partial.name.split(".")[-2])
    except ValueError:
        return False
    return lives(pid)
