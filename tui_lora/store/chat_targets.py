"""All that can be talked to in a sessions folder: adapters, checkpoints and merged models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store import sessions
from tui_lora.store.adapters import ChatTarget, checkpoint_target, session_target
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.json_file import read_object
from tui_lora.store.local_model import local_place
from tui_lora.store.paths import SessionPaths

AT_MOST = 20
"""Checkpoints of one session that are listed, the newest of them."""


@dataclass(frozen=True)
class Listed:
    """A target and the bytes of its weights; `under` is the session that it stands below."""

    target: ChatTarget
    size_bytes: int | None
    under: str = ""


def chat_targets(root: Path) -> list[Listed]:
    """Every session with an adapter or a checkpoint, the last touched first; below each its
    checkpoints, the newest first, and its merged models."""
    found: list[Listed] = []
    for paths in sessions.listed(root):
        found += _of_session(paths)
    return found


def _of_session(paths: SessionPaths) -> list[Listed]:
    found: list[Listed] = []
    try:
        own = session_target(paths)
        assert own.adapter is not None
        found.append(Listed(own, sessions.adapter_bytes(own.adapter)))
    except UserError:
        pass
    under = paths.name if found else ""
    for target in _checkpoints(paths):
        assert target.adapter is not None
        found.append(Listed(target, sessions.adapter_bytes(target.adapter), under))
    if found and not found[0].target.classifier:
        found += [_merged(found[0].target, folder, under) for folder in _models(paths)]
    return found


def _checkpoints(paths: SessionPaths) -> Iterator[ChatTarget]:
    there = [c for c in reversed(checkpoints(paths.checkpoints)) if _has_adapter(c.folder)]
    if not there:
        return
    try:
        # What the spec says of one it says of all.
        newest = checkpoint_target(paths, there[0])
    except UserError:
        return
    for checkpoint in there[:AT_MOST]:
        name = f"{paths.name} at step {checkpoint.step:,}"
        yield replace(newest, name=name, adapter=checkpoint.folder)


def _has_adapter(folder: Path) -> bool:
    return sessions.adapter_bytes(folder) is not None


def _models(paths: SessionPaths) -> list[Path]:
    """Folders in a session's exports/ that hold a whole model."""
    try:
        inside = sorted((paths.folder / "exports").iterdir())
    except OSError:
        return []
    return [
        folder
        for folder in inside
        if not folder.is_symlink()
        and not folder.name.startswith(".")
        and (folder / "config.json").is_file()
        and any(folder.glob("*.safetensors"))
    ]


def _merged(one: ChatTarget, folder: Path, under: str) -> Listed:
    try:
        taken = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    except OSError:
        taken = None
    name = f"{one.session.name if one.session else one.name} {clean(folder.name)}"
    return Listed(replace(one, name=name, adapter=None, whole=folder), taken, under)


def has_template(target: ChatTarget) -> bool | None:
    """Whether a chat template came with a target's adapter or its base; None where that is not told
    by files on this machine."""
    try:
        place = local_place(target.model)
    except UserError:
        return None
    if not place.is_dir():
        return None
    folders = [folder for folder in (target.adapter, target.whole, place) if folder is not None]
    return any(_writes_turns(folder) for folder in folders)


def _writes_turns(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = read_object(folder / "tokenizer_config.json")
    return settings is not None and bool(settings.get("chat_template"))
