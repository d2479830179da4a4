"""Checkpoints of a session: whole once their manifest is in place, and checked against it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_lora.store.atomic import sync_folder, write_whole

MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d{6,})")


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


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose every byte is as it was written, and what was passed over."""
    passed = [f"{name}: it was never finished" for name in unfinished(folder)]
    for checkpoint in reversed(checkpoints(folder)):
        problem = damage(checkpoint.folder)
        if problem is None:
            return checkpoint, passed
        passed.append(f"{checkpoint.folder.name}: {problem}")
    return None, passed


def seal(beside: Path, final: Path, *, step: int, tokens_seen: int) -> int:
    """Make the folder `beside` a checkpoint at `final`; returns its size in bytes.

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
    manifest = {"version": 1, "step": step, "tokens_seen": tokens_seen, "files": files}
    write_whole(beside / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    if final.exists():
        shutil.rmtree(final)
    beside.rename(final)
    sync_folder(final.parent)
    return sum(entry["size"] for entry in files.values())


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint by its manifest, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                return "its manifest names a file elsewhere"
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"]:
                return f"{name} has {path.stat().st_size} of {entry['size']} bytes"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    return f"{name} was changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    return None


def prune(folder: Path, keep: int, newest: int) -> list[int]:
    """Delete all but the `keep` last checkpoints up to step `newest`; returns the steps that went.

    Those beyond it were passed over as damaged when the run resumed from an earlier one: counted
    in, they would push out the whole ones.
    """
    found = checkpoints(folder)
    kept = [checkpoint for checkpoint in found if checkpoint.step <= newest][-keep:]
    gone = []
    for checkpoint in found:
        if checkpoint in kept:
            continue
        shutil.rmtree(checkpoint.folder, ignore_errors=True)
        gone.append(checkpoint.step)
    return gone


def _steps(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    yield from (path for path in entries if _STEP.fullmatch(path.name) and path.is_dir())


def _read(folder: Path) -> Checkpoint | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        size = sum(int(entry["size"]) for entry in manifest["files"].values())
        return Checkpoint(int(manifest["step"]), folder, int(manifest["tokens_seen"]), size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
