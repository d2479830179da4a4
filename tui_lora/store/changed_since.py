"""What a session was last at work with, and what of it is otherwise now; see `core/changed.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tui_lora.core.changed import (
    OTHER_ROWS_BY_SETTING,
    ROWS,
    TEMPLATE,
    WHAT_ANOTHER_TEMPLATE_MEANS,
    WHAT_OTHER_ROWS_MEAN,
    ChangedSince,
    Difference,
    FileMark,
    Marks,
    all_same,
    not_accepted,
    of_base,
    of_card,
    of_checkpoints,
    of_rows,
    of_spec,
    of_versions,
)
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, ChangesRefused, SpecChanged
from tui_lora.core.fields import get
from tui_lora.core.optimizers import OPTIMIZERS
from tui_lora.core.resumable import as_it_ran
from tui_lora.core.sensors import SensorReading
from tui_lora.core.spec import RunSpec, check_spec
from tui_lora.store.checkpoints import checkpoints, none_is_whole
from tui_lora.store.file_marks import (
    Files,
    base_files,
    dataset_files,
    marks_beside,
    marks_of,
)
from tui_lora.store.paths import SessionPaths
from tui_lora.store.patience import PatientSensors
from tui_lora.store.resolved import became, read_resolved
from tui_lora.store.sessions import events_of
from tui_lora.store.spec_now import spec_now, with_changes
from tui_lora.store.versions import versions

PLACES = ("dataset.path", "dataset.eval_path", "model.id")
"""Settings that say where files are: the same files elsewhere are no change."""


@dataclass(frozen=True)
class Began:
    """What resolved.yaml says of the latest attempt; empty or None where it says nothing. `card`
    is the card's name, empty for the processor."""

    spec: RunSpec | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Marks] = field(default_factory=dict)
    base: Marks = ()
    card: str | None = None
    model_commit: str | None = None


def to_write_down(spec: RunSpec, commit: str | None, card: str | None) -> dict[str, Any]:
    """What resolved.yaml keeps of the files and the card, for `began` to read. `commit` is the one
    of a Hub model, `card` None where its name is not known."""
    try:
        rows = dataset_files(spec.dataset)
    except UserError:
        rows = {}
    model = spec.model.model_copy(update={"revision": commit}) if commit else spec.model
    return {
        "device": card,
        "dataset_files": {
            name: [asdict(mark) for mark in marks_of(files)] for name, files in rows.items()
        },
        "base_files": [asdict(mark) for mark in marks_of(base_files(model))],
    }


def with_settings(found: Mapping[str, Any], spec: RunSpec) -> dict[str, Any]:
    """A resolved.yaml's content for a branch of its session, which was made with `spec`."""
    then, now = found.get("spec"), spec.model_dump(mode="json")
    written = {**found, "spec": now}
    if not isinstance(then, dict) or any(
        get(then, path) != get(now, path) for path in OTHER_ROWS_BY_SETTING
    ):
        written.pop("dataset_sha256", None)
    return written


def began(paths: SessionPaths) -> Began:
    """What a session's latest attempt worked with, every change of its spec since included."""
    found = read_resolved(paths)
    written = found.get("spec")
    spec = check_spec(written)[0] if isinstance(written, dict) else None
    if spec is not None:
        try:
            for event in events_of(paths, SpecChanged):
                spec = with_changes(spec, event.changes)
        except UserError:
            spec = None
    told, rows = found.get("versions"), found.get("dataset_files")
    card, commit = found.get("device"), found.get("model_revision")
    return Began(
        spec,
        {str(name): str(text) for name, text in told.items()} if isinstance(told, dict) else {},
        {str(name): _read_marks(marks) for name, marks in rows.items()}
        if isinstance(rows, dict)
        else {},
        _read_marks(found.get("base_files")),
        card if isinstance(card, str) else None,
        commit if isinstance(commit, str) else None,
    )


def changed_since(
    paths: SessionPaths,
    changes: Mapping[str, Any] | None = None,
    *,
    devices: str | None = None,
    read: Callable[[], SensorReading] | None = None,
) -> tuple[Difference, ...]:
    """Everything that is otherwise than in the latest attempt, what weighs most first; `changes`
    are settings that are meant to be others. A few stats and the whole log; files whose time is
    another are read. Raises UserError where the spec cannot be read.

    `devices` is what the worker gets where that is not for the spec to say.
    """
    before = began(paths)
    now = spec_now(paths, changes)
    files = _files(now)
    rows = {
        name: marks_beside(files[name], was) for name, was in before.rows.items() if name in files
    }
    base = marks_beside(base_files(_at_commit(now, before)), before.base) if before.base else ()
    moved = {name for name, marks in rows.items() if all_same(before.rows[name], marks)}
    if all_same(before.base, base):
        moved.add("model.id")
    found: list[Difference] = []
    if before.spec is not None:
        table = became(paths)
        was_spec = as_it_ran(with_changes(before.spec, changes or {}), table)
        found += of_spec(was_spec, as_it_ran(now, table), moved.intersection(PLACES))
    edited = {one.what for one in found}
    if "model.id" not in edited and base:
        found += of_base(before.base, base)
    for name, marks in rows.items():
        if name not in edited:
            found += of_rows(name, before.rows[name], marks)
    found += of_versions(before.versions, versions(), eight_bits=_eight_bits(now))
    found += _device(before, devices or now.hardware.devices, read or PatientSensors().read)
    asked = {one.what for one in found if one.how != "note"}
    if not asked.intersection(rows) and _refused(paths, ROWS, *files.values()):
        found.append(Difference(ROWS, "those of the start", "others", "ask", WHAT_OTHER_ROWS_MEAN))
    if "model.id" not in asked and _refused(paths, TEMPLATE, base_files(now.model)):
        found.append(
            Difference(TEMPLATE, "that of the start", "another", "ask", WHAT_ANOTHER_TEMPLATE_MEANS)
        )
    return tuple(sorted(found, key=lambda one: ("refuse", "ask", "note").index(one.how)))


def must_be_as_it_was(
    paths: SessionPaths,
    changes: Mapping[str, Any] | None = None,
    *,
    accepted: Collection[str] = (),
    devices: str | None = None,
) -> None:
    """Raises ChangedSince for what a run cannot go on with, or only once somebody accepts it."""
    found = changed_since(paths, changes, devices=devices)
    if not_accepted(found, accepted):
        raise ChangedSince(paths.name, found)


def goes_on(paths: SessionPaths, accepted: Collection[str] = ()) -> bool:
    """Whether a run has a checkpoint to go on from; without one it begins at its first step. Reads
    all of the newest. Raises ChangedSince where all that it has are damaged, unless somebody
    accepts that it begins anew."""
    lost = of_checkpoints(none_is_whole(paths.checkpoints))
    if not_accepted(lost, accepted):
        raise ChangedSince(paths.name, lost)
    return not lost and bool(checkpoints(paths.checkpoints))


def spec_at_work(paths: SessionPaths) -> RunSpec:
    """The settings that a checkpoint was made with, where that is written down; else those that
    hold now. Raises UserError."""
    return began(paths).spec or spec_now(paths)


def card_name(reading: SensorReading, devices: str) -> str | None:
    """The name of the card that a worker uses, empty for the processor; None where NVML does not
    tell."""
    if reading.nvml_problem is not None:
        return None
    card = reading.card_of(devices)
    return card.name if card is not None else ""


def _device(before: Began, devices: str, read: Callable[[], SensorReading]) -> list[Difference]:
    if before.card is None:
        return []
    hidden = devices == "auto" and os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    on_purpose = devices == "cpu" or hidden
    card = "" if on_purpose else card_name(read(), devices)
    return [] if card is None else of_card(before.card, card, on_purpose=on_purpose)


def _eight_bits(spec: RunSpec) -> bool:
    known = OPTIMIZERS.get(spec.training.optimizer)
    return spec.quantization.scheme != "none" or (known is not None and known.bits == 8)


def _at_commit(spec: RunSpec, before: Began) -> Any:
    return (
        spec.model.model_copy(update={"revision": before.model_commit})
        if before.model_commit
        else spec.model
    )


def _files(spec: RunSpec) -> dict[str, Files]:
    """Those that are there; what cannot be a dataset any more is said by `preflight`."""
    try:
        return dataset_files(spec.dataset)
    except UserError:
        return {}


def _refused(paths: SessionPaths, what: str, *files: Files) -> bool:
    """Whether the worker refused it in the latest attempt, and none of the files came since."""
    refused_at: float | None = None
    for event in events_of(paths, AttemptStarted, ChangesRefused):
        found = isinstance(event, ChangesRefused) and what in event.what
        refused_at = event.t if found else None
    if refused_at is None:
        return False
    return not any(_came_after(refused_at, file) for some in files for file in some.values())


def _came_after(moment: float, file: Path) -> bool:
    # Not the time of its bytes: a file that is put back may be older.
    try:
        return file.stat().st_ctime > moment
    except OSError:
        return True


def _read_marks(found: object) -> Marks:
    marks = []
    for one in found if isinstance(found, list) else ():
        try:
            mark = FileMark(**one)
            marks.append(replace(mark, size_bytes=int(mark.size_bytes)))
        except (TypeError, ValueError):
            continue
    return tuple(marks)
