"""What must hold before a session is made: the model and the rows are there and can be used."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tui_lora.core.columns import parse_mixed
from tui_lora.core.errors import Problem, UserError
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import size
from tui_lora.store.catalog import check_model, looks_like_a_path
from tui_lora.store.data_problems import as_problem, data_problems
from tui_lora.store.model_entry import ModelEntry
from tui_lora.store.paths import DEMO_MODEL, expanded, is_there, sessions_root
from tui_lora.store.sources import SHIPPED, is_hub_id

_BYTES_A_TRAINED_WEIGHT = 12  # the weight in float32 and Adam's two moments
_SPARE_BYTES = 1 << 30


def preflight(spec: RunSpec) -> tuple[Problem, ...]:
    """Everything that would end a run of `spec` before its first step; empty when all holds.

    Reads headers and the first rows, no weights. What is only worth knowing stands in `notes`.
    Rows of Parquet and of the Hub are left to the worker.
    """
    found: list[Problem] = []
    try:
        check_model(spec.model.id)
    except UserError as error:
        found.append(as_problem(error, "model.id"))
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
    free = _free_bytes(root or sessions_root())
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


def _speaks(spec: RunSpec) -> bool:
    """Whether turns are written down for the model, and the user did not say how."""
    plain = spec.task == "classification" or spec.dataset.format == "text"
    return spec.model.chat_template == "auto" and not plain


def anchored(spec: RunSpec, base: Path) -> RunSpec:
    """`spec` with its relative paths made absolute against `base`, the folder of its file.

    The names of what we ship stay, and so do Hub ids, unless a file or folder of that name is
    there.
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
    return spec.model_copy(update={"dataset": dataset, "model": model})


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
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None
