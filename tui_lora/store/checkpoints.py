"""Checkpoints of a session: whole once their manifest is in place, and checked against it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_lora.store.atomic import sync_folder, write_whole

MANIFEST = "manifest.json"
NEEDED = (
    "adapter_model.safetensors",
    "adapter_config.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
)
"""Without any of these a run would not go on as it was: the libraries begin anew in silence."""
KNOWN = (*NEEDED, "scaler.pt")
"""All that a run reads of a checkpoint; what else lies in one is never opened."""
_STEP = re.compile(r"step-(\d{6,})")
_GONE = ".gone."
_APART = "passed-over-"
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a manifest raises that is none."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a manifest. `tokens_seen` counts from step 0 of the first attempt."""

    step: int
    folder: Path
    tokens_seen: int
    size_bytes: int


def folder_name(step: int) -> str:
    return f"step-{step:06d}"


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Every checkpoint in `folder` with a readable manifest, the newest last."""
    found = [checkpoint for path in _steps(folder) if (checkpoint := _read(path)) is not None]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def unfinished(folder: Path) -> list[str]:
    """Names of checkpoints that never got their manifest."""
    sealed = {checkpoint.folder for checkpoint in checkpoints(folder)}
    return sorted(path.name for path in _steps(folder) if path not in sealed)


def newest_whole(folder: Path, before: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose every byte is as it was written, of those `before` a step where
    one is given, and what was passed over."""
    passed = [f"{name}: it was never finished" for name in unfinished(folder)]
    for checkpoint in reversed(checkpoints(folder)):
        if before is not None and checkpoint.step >= before:
            continue
        problem = damage(checkpoint.folder)
        if problem is None:
            return checkpoint, passed
        passed.append(f"{checkpoint.folder.name}: {problem}")
    return None, passed


def none_is_whole(folder: Path) -> list[str]:
    """What is wrong with each checkpoint in `folder`, where there are some and a run can go on from
    none; else nothing. A folder without a file is none."""
    found, passed = newest_whole(folder)
    there = found is None and any(_holds_something(path) for path in _steps(folder))
    return passed if there else []


def seal(
    beside: Path,
    final: Path,
    *,
    step: int,
    tokens_seen: int,
    versions: Mapping[str, str] | None = None,
) -> int:
    """Make the folder `beside` a checkpoint at `final`, written by libraries of these `versions`;
    returns its size in bytes.

    Every file is synced, then the manifest written, then the folder renamed. Raises OSError and
    leaves `final` as it was.
    """
    # A pickle of everything, the Hub token included; nothing reads it.
    (beside / "training_args.bin").unlink(missing_ok=True)
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in beside.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        name = str(path.relative_to(beside))
        files[name] = {"size": path.stat().st_size, "sha256": digest}
    manifest = {
        "version": 1,
        "step": step,
        "tokens_seen": tokens_seen,
        "versions": dict(versions or {}),
        "files": files,
    }
    write_whole(beside / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    old = _put_aside(final) if os.path.lexists(final) else None
    beside.rename(final)
    sync_folder(final.parent)
    if old is not None:
        _erase(old)
    return sum(entry["size"] for entry in files.values())


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint by its manifest, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest["files"].items():
            path = folder / name
            if not _is_inside(folder, name):
                return "its manifest names a file elsewhere"
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"]:
                return f"{name} has {path.stat().st_size} of {entry['size']} bytes"
            if sha256_of(path) != entry["sha256"]:
                return f"{name} was changed"
    except _UNREADABLE:
        return "its manifest cannot be read"
    return None


def lacking(folder: Path) -> str | None:
    """What a run needs to go on and the manifest does not name, or None."""
    there = _files(folder)
    missing = [name for name in NEEDED if name not in there]
    return f"{missing[0]} is not in it" if missing else None


def known_files(folder: Path) -> list[str]:
    """The files by the manifest that a run reads."""
    there = _files(folder)
    return [name for name in KNOWN if name in there]


def manifest_files(folder: Path) -> dict[str, str]:
    """The hash of every file by the manifest, by its name; only files in the folder itself count,
    and none where the manifest cannot be read."""
    return {
        str(name): str(entry.get("sha256"))
        for name, entry in _files(folder).items()
        if isinstance(entry, dict) and _is_inside(folder, str(name))
    }


def sha256_of(file: Path) -> str:
    """Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def manifest_sha256(folder: Path) -> str | None:
    """The hash of the manifest, and so of every file that it names; None without a manifest."""
    try:
        return sha256_of(folder / MANIFEST)
    except OSError:
        return None


def remove(folder: Path) -> None:
    """Delete a checkpoint: all of it from the first moment on. Raises OSError."""
    shutil.rmtree(_put_aside(folder))


def keep_apart(folder: Path, after: int, spared: Collection[int] = ()) -> list[str]:
    """Give another name to the checkpoints beyond step `after`, but those that are to be `spared`;
    returns the new names.

    They were passed over when the run went on from that step: counted in they would push out the
    whole ones, and one that could be read again would not be of this run's course any more. They
    are not deleted: hours may be in one that these libraries merely could not load.
    """
    apart = []
    for checkpoint in checkpoints(folder):
        if checkpoint.step > after and checkpoint.step not in spared:
            name = f"{_APART}{checkpoint.folder.name}"
            with contextlib.suppress(OSError):
                _erase(folder / name)
                checkpoint.folder.rename(folder / name)
                apart.append(name)
    return apart


def prune(folder: Path, keep: int, newest: int, spared: Collection[int] = ()) -> list[int]:
    """Delete all but the `keep` last checkpoints up to step `newest`, and those at the steps that
    are to be `spared`; returns the steps that went. Those beyond it stay.
    """
    for left in folder.glob(f"{_GONE}*"):
        # Somebody was killed while it was deleted.
        _erase(left)
    found = checkpoints(folder)
    kept = [checkpoint for checkpoint in found if checkpoint.step <= newest][-keep:]
    gone = []
    for checkpoint in found:
        if checkpoint in kept or checkpoint.step in spared or checkpoint.step > newest:
            continue
        with contextlib.suppress(OSError):
            remove(checkpoint.folder)
            gone.append(checkpoint.step)
    return gone


def _put_aside(folder: Path) -> Path:
    aside = folder.with_name(f"{_GONE}{folder.name}")
    _erase(aside)
    return folder.rename(aside)


def _erase(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _is_inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _files(folder: Path) -> Mapping[str, Any]:
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except _UNREADABLE:
        return {}
    return files if isinstance(files, dict) else {}


def _is_ours(folder: Path) -> bool:
    """A folder that is no link: nothing is read or deleted behind one."""
    return folder.is_dir() and not folder.is_symlink()


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return True


def _steps(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    yield from (path for path in entries if _STEP.fullmatch(path.name) and _is_ours(path))


def _read(folder: Path) -> Checkpoint | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        size = sum(int(entry["size"]) for entry in manifest["files"].values())
        return Checkpoint(int(manifest["step"]), folder, int(manifest["tokens_seen"]), size)
    except _UNREADABLE:
        return None
