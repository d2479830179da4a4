"""The datasets to choose from: what we ship, what runs used, what lies near, what was fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tui_lora.core.errors import UserError
from tui_lora.store.byte_stream import DAMAGED, ByteStream
from tui_lora.store.data_files import NO_ROWS, kind_of
from tui_lora.store.hub_cache import cached_datasets
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import listed
from tui_lora.store.sources import dataset_file, is_hub_id
from tui_lora.store.spec_file import read_spec

QUICKSTART = "quickstart"
MOST_HERE = 300
MOST_SESSIONS = 40
_MOST_IN_FOLDER = 2000
_PEEK_BYTES = 4096
_ROWS = re.compile(rb'\s*(\[|\{\s*"[^"]{1,80}"\s*:\s*\[|\{[^\n]+\}\s*\n\s*\{)')

From = Literal["shipped", "chosen", "used", "here", "cached"]


@dataclass(frozen=True)
class DatasetEntry:
    """A file of rows, a folder of files, or a Hub dataset (`cached`). `path` goes into a spec's
    dataset.path; unknown is None. Sizes of folders are of the files found in them."""

    path: str
    source: From
    size_bytes: int | None = None
    changed: float | None = None
    files: int = 1
    revision: str | None = None
    subsets: tuple[str, ...] = ()

    @property
    def is_there(self) -> bool:
        return self.size_bytes is not None


def list_datasets(root: Path, here: Path, chosen: str = "") -> list[DatasetEntry]:
    """The shipped one, `chosen`, those of the sessions in `root`, files and folders of documents
    in and under `here`, and what is in the Hugging Face caches.

    Goes to the disk many times: ask in a thread. Never raises.
    """
    found: dict[str, DatasetEntry] = {QUICKSTART: _entry(QUICKSTART, "shipped")}
    cached = {
        one.id: DatasetEntry(
            one.id,
            "cached",
            one.size_bytes,
            one.changed,
            revision=one.revision,
            subsets=one.subsets,
        )
        for one in cached_datasets()
    }
    for path in _used(listed(root)[:MOST_SESSIONS]):
        found.setdefault(path, _entry(path, "used"))
    for _, entry in zip(range(MOST_HERE), _near(here), strict=False):
        found.setdefault(entry.path, entry)
    for name, entry in cached.items():
        if not found.get(name, entry).is_there:
            del found[name]
        found.setdefault(name, entry)
    if chosen and chosen not in found:
        found[chosen] = _entry(chosen, "chosen")
    return [
        entry
        for entry in found.values()
        if entry.is_there or entry.source == "chosen" or is_hub_id(entry.path)
    ]


def _entry(path: str, source: From) -> DatasetEntry:
    file = dataset_file(path)
    try:
        stat = file.stat()
        if file.is_dir():
            return _folder(file, source, path) or DatasetEntry(path, source, 0, stat.st_mtime, 0)
    except (OSError, ValueError):
        return DatasetEntry(path, source)
    return DatasetEntry(path, source, stat.st_size, stat.st_mtime)


def _used(sessions: list[SessionPaths]) -> Iterator[str]:
    for paths in sessions:
        try:
            yield read_spec(paths.spec).dataset.path
        except UserError:
            continue


def _near(here: Path) -> Iterator[DatasetEntry]:
    """Files of rows in a folder and in its subfolders, and subfolders of documents; none of a
    session's own."""
    below = [f for f in _children(here) if _is_folder(f) and not f.name.startswith(".")]
    for folder in (here, *below):
        if (folder / "run.yaml").is_file():
            continue
        documents = []
        for file in _children(folder)[:_MOST_IN_FOLDER]:
            kind = kind_of(file)
            if kind == "document":
                documents.append(file)
            elif kind and _holds_rows(file, kind):
                yield _entry(str(file.absolute()), "here")
        if folder != here and len(documents) > 1:
            entry = _folder(folder, "here")
            if entry is not None:
                yield entry


def _folder(folder: Path, source: From, path: str | None = None) -> DatasetEntry | None:
    """A folder by the data files that lie directly in it."""
    stats = []
    for file in _children(folder)[:_MOST_IN_FOLDER]:
        try:
            if kind_of(file) and file.is_file():
                stats.append(file.stat())
        except OSError:
            continue
    size = sum(stat.st_size for stat in stats)
    if not size:
        return None
    changed = max(stat.st_mtime for stat in stats)
    return DatasetEntry(path or str(folder.absolute()), source, size, changed, len(stats))


def _holds_rows(file: Path, kind: str) -> bool:
    """A file of rows always; of JSON only what begins as an array, an object with one, or lines."""
    try:
        if not file.is_file() or file.stat().st_size == 0 or file.name in NO_ROWS:
            return False
        if kind != "json":
            return True
        stream = ByteStream(file)
        try:
            return _ROWS.match(stream.read(_PEEK_BYTES)) is not None
        finally:
            stream.close()
    except (OSError, *DAMAGED):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
