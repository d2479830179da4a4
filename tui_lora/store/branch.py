"""Branches: a new session from a checkpoint of another, with other settings. It holds copies of
all that it needs, so its parent may go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tui_lora.core.branching import Branching, branching
from tui_lora.core.errors import SpecError, UserError
from tui_lora.core.events import EVENTS, Event, Notice, SpecChanged
from tui_lora.core.fields import get
from tui_lora.core.resumable import as_it_ran
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, size
from tui_lora.store import leftovers, sessions
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.atomic import sync_file, sync_folder, write_whole
from tui_lora.store.catalog import is_of_hub
from tui_lora.store.changed_since import with_settings
from tui_lora.store.checkpoints import (
    MANIFEST,
    Checkpoint,
    checkpoints,
    damage,
    folder_name,
    lacking,
    manifest_files,
    manifest_sha256,
    sha256_of,
)
from tui_lora.store.inside import check_inside
from tui_lora.store.parent import Parent, write_parent
from tui_lora.store.paths import SessionPaths, check_name
from tui_lora.store.preflight import preflight
from tui_lora.store.resolved import became, model_commit, read_resolved
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_now import spec_now, with_changes

_OF_THE_STEP = ("training.micro_batch", "training.accumulation")
_STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "scaler.pt")
_SPARE_BYTES = 1 << 24


@dataclass(frozen=True)
class Plan:
    """What a branch will be: known, and to be told, before it is made. `spec` is what it trains
    with, `before` what its parent does."""

    checkpoint: Checkpoint
    how: Branching
    before: RunSpec
    spec: RunSpec


def plan_branch(source: SessionPaths, step: int, changes: Mapping[str, Any]) -> Plan:
    """How a branch from a checkpoint would begin. Raises UserError where there can be none, with
    every reason; reads all of the checkpoint."""
    # What lies elsewhere is not copied under a name of ours.
    check_inside(source.folder)
    there = {checkpoint.step: checkpoint for checkpoint in checkpoints(source.checkpoints)}
    if step not in there:
        known = ", ".join(f"{known:,}" for known in there)
        raise UserError(
            f"{source.name} has no checkpoint of step {step:,}.",
            then=f"There are those of {known}." if known else "It has none.",
        )
    checkpoint = there[step]
    if (harm := damage(checkpoint.folder) or lacking(checkpoint.folder)) is not None:
        raise UserError(
            f"the checkpoint of step {step:,} is damaged: {clean(harm)}.",
            where=str(checkpoint.folder),
            then="Branch from another one.",
        )
    before = spec_now(source)
    how = branching(as_it_ran(before, became(source)), changes)
    if how.refused:
        raise SpecError(how.refused)
    return Plan(checkpoint, how, before, with_changes(before, changes))


def branch(
    root: Path, source: SessionPaths, step: int, name: str, changes: Mapping[str, Any]
) -> SessionPaths:
    """Make the session `name`, not started yet, from the checkpoint of a step, with new values by
    setting. In place at once or not at all; raises UserError."""
    check_name(name)
    plan = plan_branch(source, step, changes)
    spec, checkpoint, exact = plan.spec, plan.checkpoint, plan.how.way == "exact"
    if not exact:
        spec = _from_adapter(source, root / name, spec)
    sessions.make_root(root)
    leftovers.clear_root(root)
    _check_room(root, checkpoint.size_bytes + sum(file.stat().st_size for file in _beside(source)))
    seen = spec if exact else _starting_from(spec, checkpoint.folder)
    if problems := preflight(seen, root, resumed=exact):
        raise SpecError(problems)
    parent = Parent(
        source.name, step, plan.how.way, manifest_sha256(checkpoint.folder), round(time.time(), 3)
    )
    begun = _as_it_began(source, spec) if exact else spec

    def fill(folder: Path) -> None:
        made = SessionPaths(folder)
        if exact:
            _copy_checkpoint(checkpoint, made.checkpoints / folder_name(step))
            _copy_beside(source, made)
            _resolve_with(made, spec)
            said = [found for found in sessions.evaluations(source) if (found.step or 0) <= step]
            _write_events(made, parent, [*said, *_changed_since(begun, spec)])
        else:
            _copy_adapter(source, checkpoint, made.start)
            _write_events(made, parent, [])
        write_parent(made.parent, parent)

    return sessions.create(root, name, begun, fill)


def _from_adapter(source: SessionPaths, folder: Path, spec: RunSpec) -> RunSpec:
    """`spec` for a run that starts from the adapter that will lie in the new session's folder, on
    the very weights of its parent; from there on it is trained as any other."""
    changes: dict[str, Any] = {}
    commit = model_commit(source)
    if commit is not None and is_of_hub(spec.model.id):
        changes["model.revision"] = commit
    if spec.lora.variant in ("eva", "loftq"):
        changes["lora.variant"] = "lora"
    start = SessionPaths(folder.absolute()).start
    return with_changes(spec, {**changes, "lora.start_from": str(start)})


def _starting_from(spec: RunSpec, folder: Path) -> RunSpec:
    lora = spec.lora.model_copy(update={"start_from": str(folder.absolute())})
    return spec.model_copy(update={"lora": lora})


def _check_room(root: Path, needed: int) -> None:
    try:
        disk = shutil.disk_usage(root)
    except OSError:
        return
    # One of no size at all tells nothing of itself.
    if disk.total and disk.free < needed + _SPARE_BYTES:
        raise UserError(
            f"the branch copies {size(needed)}, and {size(disk.free)} are free.",
            where=clean(str(root)),
            then="Make room there.",
        )


def _as_it_began(source: SessionPaths, spec: RunSpec) -> RunSpec:
    """What the branch's run.yaml says. The order of the rows follows from the micro-batch with
    which the parent's very first step was taken; a later one is a change."""
    first = read_spec(source.spec).model_dump(mode="json")
    return with_changes(spec, {path: get(first, path) for path in _OF_THE_STEP})


def _changed_since(begun: RunSpec, spec: RunSpec) -> list[Event]:
    first, now = begun.model_dump(mode="json"), spec.model_dump(mode="json")
    changes = {p: get(now, p) for p in _OF_THE_STEP if get(now, p) != get(first, p)}
    return [SpecChanged(changes=changes, reason="As the branch was made.")] if changes else []


def _write_events(made: SessionPaths, parent: Parent, events: list[Event]) -> None:
    """The beginning of the log: what of the parent's is the branch's too."""
    told = Notice(level="info", text=parent.words, step=parent.step)
    lines = []
    for seq, event in enumerate([*events, told], start=1):
        t = event.t or parent.t or 0.0
        lines.append(EVENTS.encode(event.model_copy(update={"seq": seq, "t": t})))
    write_whole(made.events, "".join(lines))


def _copy_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """All that its manifest names, checked after it was copied. Raises UserError, OSError."""
    for name in (*manifest_files(checkpoint.folder), MANIFEST):
        _copy(checkpoint.folder / name, folder / name)
    sync_folder(folder)
    if (harm := damage(folder)) is not None:
        raise _lost(checkpoint, harm)


def _copy_adapter(source: SessionPaths, checkpoint: Checkpoint, folder: Path) -> None:
    """The adapter and its tokenizer, checked as they were copied; with its labels, of a
    classifier. Raises UserError, OSError."""
    for name, sha256 in manifest_files(checkpoint.folder).items():
        if name in _STATE:
            continue
        _copy(checkpoint.folder / name, folder / name)
        if sha256_of(folder / name) != sha256:
            raise _lost(checkpoint, f"{name} was changed")
    labels = read_resolved(source).get("labels")
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        write_labels(folder, tuple(labels))


def _beside(source: SessionPaths) -> list[Path]:
    """What an attempt that goes on reads beside its checkpoint."""
    files = (source.resolved, source.folder / "began.safetensors", *source.reference.rglob("*"))
    return [file for file in files if file.is_file()]


def _copy_beside(source: SessionPaths, made: SessionPaths) -> None:
    for file in _beside(source):
        _copy(file, made.folder / file.relative_to(source.folder))


def _resolve_with(made: SessionPaths, spec: RunSpec) -> None:
    """The settings that the branch is made with are none that were changed since."""
    if found := read_resolved(made):
        text = yaml.safe_dump(with_settings(found, spec), sort_keys=False, allow_unicode=True)
        write_whole(made.resolved, text)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(file, to)
    sync_file(to)


def _lost(checkpoint: Checkpoint, harm: str) -> UserError:
    return UserError(
        f"the checkpoint of step {checkpoint.step:,} could not be copied whole: {clean(harm)}.",
        where=str(checkpoint.folder),
        then="If its run made room in the meantime, branch from a newer one.",
    )
