"""Sessions and adapters that came from elsewhere: nothing in them may lead out of them.

Whoever packs a session can put a link in the place of its log, of its checkpoints or of a file of
its adapter, and have us write, delete or read somewhere else under its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean

AT_MOST = 20_000
"""Files and folders that are looked at; what has more is refused."""


def check_inside(folder: Path) -> None:
    """Raises UserError for a session's or an adapter's folder in which a link leads out of it, and
    for one that holds more than can be looked at.

    Files of the Hub's cache may be linked to: huggingface_hub does so.
    """
    home = folder.resolve()
    for link in _links(folder):
        target = link.resolve()
        if not target.is_relative_to(home) and not _is_of_hub(target):
            raise UserError(
                f"{clean(str(link.relative_to(folder)))} is a link that leads out of "
                f"{clean(folder.name)}.",
                where=clean(str(folder)),
                then="Put the file itself in its place, if you know where it came from.",
            )


def _is_of_hub(target: Path) -> bool:
    """Whether this is a file as the Hub's cache keeps it, named by its content."""
    return target.parent.name == "blobs" and target.parent.parent.name.startswith("models--")


def _links(folder: Path) -> Iterator[Path]:
    seen = 0
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            seen += 1
            if seen > AT_MOST:
                raise UserError(
                    f"{clean(folder.name)} holds more than {AT_MOST:,} files and folders, so "
                    "whether a link in it leads out is not looked at.",
                    where=clean(str(folder)),
                    then="Nothing of ours makes so many: take out what is not its own.",
                )
            if (found := Path(place) / name).is_symlink():
                yield found
