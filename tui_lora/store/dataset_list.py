"""The datasets to choose from: what we ship, what runs used, what lies near."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tui_lora.core.errors import UserError
from tui_lora.store.dataset import SUFFIXES, dataset_file
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import listed
from tui_lora.store.spec_file import read_spec

QUICKSTART = "quickstart"
MOST_HERE = 300
MOST_SESSIONS = 40
_PEEK_BYTES = 4096
_ROWS = re.compile(rb'\s*(\[|\{\s*"[^"]{1,80}"\s*:\s*\[)')


@dataclass(frozen=True)
class DatasetEntry:
    """A file of rows. `path` goes into a spec's dataset.path; unknown is None."""

    path: str
    source: Literal["shipped", "chosen", "used", "here"]
    size_bytes: int | None = None
    changed: float | None = None

    @property
    def is_there(self) -> bool:
        return self.size_bytes is not None


def list_datasets(root: Path, here: Path, chosen: str = "") -> list[DatasetEntry]:
    """The shipped one, `chosen`, those of the sessions in `root`, and files in and under `here`.

    Goes to the disk many times: ask in a thread. Never raises.
    """
    found: dict[str, DatasetEntry] = {QUICKSTART: _entry(QUICKSTART, "shipped")}
    for path in _used(listed(root)[:MOST_SESSIONS]):
        found.setdefault(path, _entry(path, "used"))
    for _, file in zip(range(MOST_HERE), _near(here), strict=False):
        found.setdefault(str(file), _entry(str(file), "here"))
    if chosen and chosen not in found:
        found[chosen] = _entry(chosen, "chosen")
    return [entry for entry in found.values() if entry.is_there or entry.source == "chosen"]


def _entry(path: str, source: Literal["shipped", "chosen", "used", "here"]) -> DatasetEntry:
    try:
        stat = dataset_file(path).stat()
    except (OSError, ValueError):
        return DatasetEntry(path, source)
    return DatasetEntry(path, source, stat.st_size, stat.st_mtime)


def _used(sessions: list[SessionPaths]) -> Iterator[str]:
    for paths in sessions:
        try:
            yield read_spec(paths.spec).dataset.path
        except UserError:
            continue


def _near(here: Path) -> Iterator[Path]:
    """Files of rows in a folder and in its subfolders, but none of a session's own."""
    below = (f for f in _children(here) if f.is_dir() and not f.name.startswith("."))
    for folder in (here, *below):
        if (folder / "run.yaml").is_file():
            continue
        for file in _children(folder):
            if file.suffix.lower() in SUFFIXES and _holds_rows(file):
                yield file.absolute()


def _holds_rows(file: Path) -> bool:
    """A JSONL file always; of JSON only what begins as an array, or an object with one."""
    try:
        if not file.is_file() or file.stat().st_size == 0:
            return False
        if file.suffix.lower() != ".json":
            return True
        with file.open("rb") as opened:
            return _ROWS.match(opened.read(_PEEK_BYTES).removeprefix(b"\xef\xbb\xbf")) is not None
    except OSError:
        return False


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
