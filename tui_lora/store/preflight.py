"""What must hold before a session is made: the model and the rows are there and can be used."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tui_lora.core.errors import Problem, UserError
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, size
from tui_lora.store.catalog import ModelEntry, check_model, looks_like_a_path
from tui_lora.store.dataset import SHIPPED, Look, check_file, dataset_file, look
from tui_lora.store.paths import DEMO_MODEL, expanded, is_there, sessions_root

FIRST_ROWS = 200
_BYTES_A_TRAINED_WEIGHT = 12  # the weight in float32 and Adam's two moments
_SPARE_BYTES = 1 << 30


def preflight(spec: RunSpec) -> tuple[Problem, ...]:
    """Everything that would end a run of `spec` before its first step; empty when all holds.

    Reads headers and the first rows, no weights. What is only worth knowing stands in `notes`.
    """
    found: list[Problem] = []
    try:
        entry = check_model(spec.model.id)
        found.extend(_quantized_twice(spec, entry))
        if entry.has_chat_template is False and not entry.incomplete:
            found.append(
                Problem(
                    "has no chat template, so questions and answers cannot be told apart.",
                    "model.id",
                    mend="Choose the model's instruct or chat variant.",
                )
            )
    except UserError as error:
        found.append(_problem(error, "model.id"))
    rows = _check_rows(spec, spec.dataset.path, "dataset.path", found)
    if spec.dataset.eval_path is not None:
        held_out = _check_rows(spec, spec.dataset.eval_path, "dataset.eval_path", found)
        if rows is not None and held_out is not None and rows.path != held_out.path:
            found.extend(_same_file(rows, held_out))
    elif rows is not None and rows.complete and rows.usable_rows < 2 and spec.dataset.eval_share:
        found.append(
            Problem(
                "takes a share of the rows, and there is only one.",
                "dataset.eval_share",
                mend="Set it to 0, or give more rows.",
            )
        )
    return tuple(found)


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


def anchored(spec: RunSpec, base: Path) -> RunSpec:
    """`spec` with its relative paths made absolute against `base`, the folder of its file.

    The names of what we ship stay, and so do Hub ids, unless a folder of that name is there.
    """
    dataset = spec.dataset.model_copy(
        update={
            "path": _anchored_file(spec.dataset.path, base),
            "eval_path": spec.dataset.eval_path and _anchored_file(spec.dataset.eval_path, base),
        }
    )
    model = spec.model.model_copy(update={"id": _anchored_model(spec.model.id, base)})
    return spec.model_copy(update={"dataset": dataset, "model": model})


def _anchored_file(path: str, base: Path) -> str:
    return path if path in SHIPPED else str((base / expanded(path)).absolute())


def _anchored_model(model_id: str, base: Path) -> str:
    if model_id == DEMO_MODEL:
        return model_id
    path = base / expanded(model_id)
    meant = is_there(path) or looks_like_a_path(model_id)
    return str(path.absolute()) if meant else model_id


def _check_rows(spec: RunSpec, path: str, field: str, found: list[Problem]) -> Look | None:
    """Look at the first rows of a file; adds to `found` what makes it useless."""
    limit = min(FIRST_ROWS, spec.dataset.max_rows or FIRST_ROWS)
    try:
        check_file(path, field=field)
        seen = look(path, format=spec.dataset.format, max_rows=limit)
    except UserError as error:
        found.append(_problem(error, field))
        return None
    shown = clean(str(dataset_file(path)))
    if not seen.rows:
        found.append(Problem(f"{shown} holds no row.", field))
        return None
    if seen.usable_rows:
        return seen
    which = "no row" if seen.complete else f"none of the first {seen.rows} rows"
    if seen.format is None:
        found.append(Problem(f"{shown}: {seen.reason}.", field))
    else:
        first = seen.problems[0]
        why = f"line {first.line}: {first}" if first.line else str(first)
        found.append(Problem(f"{which} of {shown} can be used ({why.rstrip('.')}).", field))
    return None


def _same_file(rows: Look, held_out: Look) -> list[Problem]:
    try:
        same = Path(rows.path).samefile(held_out.path)
    except OSError:
        return []
    if not same:
        return []
    return [
        Problem(
            "is the dataset itself, so the eval loss would be measured on trained rows.",
            "dataset.eval_path",
            mend="Leave it empty and set dataset.eval_share.",
        )
    ]


def _quantized_twice(spec: RunSpec, entry: ModelEntry) -> list[Problem]:
    already = None if entry.kind == "gguf" else entry.quantization
    if already in (None, "bitsandbytes") or spec.quantization.scheme == "none":
        return []
    return [
        Problem(
            f"cannot be applied: the model is already quantized ({already}).",
            "quantization.scheme",
            mend="Set it to none, or choose the model in 16 bits.",
        )
    ]


def _problem(error: UserError, field: str) -> Problem:
    # A file that is no JSON names itself and its line there; a field's name is known already.
    place = f"{error.where}: " if error.where and error.where != field else ""
    return Problem(f"{place}{error.what}", field, mend=error.then)


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
