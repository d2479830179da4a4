"""What must hold before a session is made: the model and the rows are there and can be used."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tui_lora.core.columns import parse_mixed
from tui_lora.core.errors import Problem, UserError
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import size
from tui_lora.store.base_layers import layer_problems
from tui_lora.store.catalog import check_model, looks_like_a_path
from tui_lora.store.data_problems import as_problem, data_problems
from tui_lora.store.hub_client import is_offline
from tui_lora.store.model_entry import ModelEntry
from tui_lora.store.packages import optimizer_problem
from tui_lora.store.paths import DEMO_MODEL, expanded, is_there, sessions_root
from tui_lora.store.sources import SHIPPED, is_hub_id
from tui_lora.store.start_adapter import WHERE, check_start, start_place, start_refused
from tui_lora.store.trusted_code import check_code

_BYTES_A_TRAINED_WEIGHT = 12  # the weight in float32 and Adam's two moments
_SPARE_BYTES = 1 << 30


def preflight(
    spec: RunSpec, root: Path | None = None, *, resumed: bool = False
) -> tuple[Problem, ...]:
    """Everything that would end a run of `spec` before its first step; empty when all holds.

    Reads headers and the first rows, no weights. What is only worth knowing stands in `notes`.
    Rows of Parquet and of the Hub are left to the worker. `root` is the folder of the sessions;
    one that is `resumed` from a checkpoint has what it started from in there.
    """
    found: list[Problem] = []
    try:
        check_model(spec.model.id)
        check_code(spec.model)
    except UserError as error:
        field = error.where if error.where.startswith("model.") else "model.id"
        found.append(as_problem(error, field))
    else:
        found.extend(layer_problems(spec))
    if spec.lora.start_from is not None and not resumed:
        try:
            _check_start(spec, spec.lora.start_from, root or sessions_root())
        except UserError as error:
            found.append(as_problem(error, WHERE))
    if (missing := optimizer_problem(spec)) is not None:
        found.append(missing)
    return (*found, *data_problems(spec))


def notes(spec: RunSpec, root: Path | None = None) -> tuple[Problem, ...]:
    """What may go wrong and what takes time: the room for checkpoints, a model to be fetched.

    `root` is the folder of the sessions.
    """
    found: list[Problem] = []
    entry: ModelEntry | None = None
    with contextlib.suppress(UserError):  # which preflight reports
        entry = check_model(spec.model.id)
    if entry is not None and entry.kind == "hub" and entry.incomplete:
        found.append(Problem("is not on this machine; the run fetches it first.", "model.id"))
    elif entry is not None and entry.has_chat_template is False and _speaks(spec):
        found.append(
            Problem(
                "has no chat template; zephyr is used.",
                "model.id",
                mend="Choose another with model.chat_template, or the model's instruct variant.",
            )
        )
    if entry is not None:
        found.extend(Problem(note, "model.id") for note in entry.notes)
    root = root or sessions_root()
    if (start := spec.lora.start_from) is not None:
        with contextlib.suppress(UserError):
            if start_place(start, root).folder is None:
                found.append(Problem("is not on this machine; the run fetches it first.", WHERE))
    free = _free_bytes(root)
    needed = _checkpoint_bytes(spec, entry) + _SPARE_BYTES
    if free is not None and free < needed:
        found.append(
            Problem(
                f"keeps {spec.evaluation.keep} checkpoints, about {size(needed)} with some to "
                f"spare, and {size(free)} are free.",
                "evaluation.keep",
                mend="Keep fewer, or choose another disk with --sessions.",
            )
        )
    return tuple(found)


def _check_start(spec: RunSpec, start_from: str, root: Path) -> None:
    place = start_place(start_from, root)
    if place.folder is not None:
        check_start(spec, place.folder)
    elif is_offline():
        raise start_refused(
            f"{place.shown} is not on this machine, and the Hub is not asked: HF_HUB_OFFLINE is "
            "set.",
            then="Unset it to fetch the adapter, or choose one that is here.",
        )


def _speaks(spec: RunSpec) -> bool:
    """Whether turns are written down for the model, and the user did not say how."""
    plain = spec.task == "classification" or spec.dataset.format == "text"
    return spec.model.chat_template == "auto" and not plain


def anchored(spec: RunSpec, base: Path, root: Path | None = None) -> RunSpec:
    """`spec` with its relative paths made absolute against `base`, the folder of its file.

    The names of what we ship stay, and so do Hub ids, unless a file or folder of that name is
    there, and the names of sessions in `root`.
    """
    data = spec.dataset
    dataset = data.model_copy(
        update={
            "path": _anchored_data(data.path, base),
            "eval_path": data.eval_path and _anchored_data(data.eval_path, base),
            "mix": tuple(_anchored_mixed(entry, base) for entry in data.mix),
        }
    )
    model = spec.model.model_copy(update={"id": _anchored_model(spec.model.id, base)})
    start = spec.lora.start_from
    lora = spec.lora.model_copy(
        update={"start_from": start and _anchored_start(start, base, root or sessions_root())}
    )
    return spec.model_copy(update={"dataset": dataset, "model": model, "lora": lora})


def _anchored_data(path: str, base: Path) -> str:
    if path in SHIPPED or is_hub_id(path, base):
        return path
    return str((base / expanded(path)).absolute())


def _anchored_mixed(entry: str, base: Path) -> str:
    path, weight = parse_mixed(entry)
    anchored_path = _anchored_data(path, base)
    return anchored_path if weight == 1 else f"{anchored_path}*{weight:g}"


def _anchored_model(model_id: str, base: Path) -> str:
    if model_id == DEMO_MODEL:
        return model_id
    path = base / expanded(model_id)
    meant = is_there(path) or looks_like_a_path(model_id)
    return str(path.absolute()) if meant else model_id


def _anchored_start(start_from: str, base: Path, root: Path) -> str:
    if "/" not in start_from and is_there(root / start_from / "run.yaml"):
        return start_from
    path = base / expanded(start_from)
    meant = is_there(path) or looks_like_a_path(start_from.partition("@")[0])
    return str(path.absolute()) if meant else start_from


def _checkpoint_bytes(spec: RunSpec, entry: ModelEntry | None) -> int:
    """About what the kept checkpoints take, one more while it is written.

    An adapter on a layer of shape out x in has a share of r/in + r/out of its weights.
    """
    if entry is None or not entry.parameters or not entry.hidden_size:
        return 0
    trained = entry.parameters * min(1.0, 2 * spec.lora.r / entry.hidden_size)
    return int(trained * _BYTES_A_TRAINED_WEIGHT * (spec.evaluation.keep + 1))


def _free_bytes(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        try:
            disk = shutil.disk_usage(place)
        except OSError:
            continue
        # One of no size at all tells nothing of itself.
        return disk.free if disk.total else None
    return None
