"""Datasets of the Hub that are on this machine already, found without asking anyone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_lora.store.paths import expanded, hub_cache_folder

_MOST_FILES = 20_000


@dataclass(frozen=True)
class CachedDataset:
    """One dataset, as fetched (`revision`: the commit) or as `datasets` prepared it (`subsets`)."""

    id: str
    size_bytes: int
    changed: float
    revision: str | None = None
    subsets: tuple[str, ...] = ()


def cached_datasets() -> list[CachedDataset]:
    """Every dataset in the local Hugging Face caches, by name. Never raises."""
    found: dict[str, CachedDataset] = {}
    for one in (*_fetched(), *_prepared()):
        known = found.get(one.id)
        found[one.id] = one if known is None else _together(known, one)
    return sorted(found.values(), key=lambda one: one.id.lower())


def is_cached(name: str) -> bool:
    """Whether the dataset `name` is in a local cache."""
    if "\x00" in name or name.startswith("."):
        return False
    fetched = hub_cache_folder() / f"datasets--{name.replace('/', '--')}" / "snapshots"
    prepared = prepared_folder() / name.replace("/", "___")
    return _is_folder(fetched) or _is_folder(prepared)


def prepared_folder() -> Path:
    """Where `datasets` keeps the tables it made."""
    given = os.environ.get("HF_DATASETS_CACHE")
    if given:
        return expanded(given)
    home = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    )
    return expanded(home) / "datasets"


def _fetched() -> Iterator[CachedDataset]:
    for folder in _folders(hub_cache_folder()):
        if not folder.name.startswith("datasets--"):
            continue
        newest = max(_folders(folder / "snapshots"), key=_changed, default=None)
        if newest is None:
            continue
        main = _first_line(folder / "refs" / "main")
        snapshot = folder / "snapshots" / main if main else newest
        if not _is_folder(snapshot):
            snapshot = newest
        size = _size(snapshot)
        if size:
            name = folder.name.removeprefix("datasets--").replace("--", "/", 1)
            yield CachedDataset(name, size, _changed(snapshot), snapshot.name)


def _prepared() -> Iterator[CachedDataset]:
    for folder in _folders(prepared_folder()):
        # One that was made from files here is called after their format.
        subsets = [sub for sub in _folders(folder) if not sub.name.endswith(".lock")]
        size = sum(_size(sub) for sub in subsets)
        if "___" in folder.name and size:
            yield CachedDataset(
                folder.name.replace("___", "/", 1),
                size,
                _changed(folder),
                subsets=tuple(sub.name for sub in subsets),
            )


def _together(one: CachedDataset, other: CachedDataset) -> CachedDataset:
    return CachedDataset(
        one.id,
        one.size_bytes + other.size_bytes,
        max(one.changed, other.changed),
        one.revision or other.revision,
        one.subsets or other.subsets,
    )


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, links followed; of the first so many files."""
    total = files = 0
    for place, _, names in os.walk(folder):
        for name in names:
            files += 1
            if files > _MOST_FILES:
                return total
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue
    return total


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
