"""Where merged models go, and whether there is room for one: asked before anything is loaded."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.export import RECORD, Asked, Merge, Precision
from tui_lora.core.export_text import storage_words
from tui_lora.core.quantization_spec import QuantizationSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store import sessions
from tui_lora.store.adapters import ChatTarget, session_of
from tui_lora.store.chat_room import held_to, look_for_room
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.heldout import held_out
from tui_lora.store.json_file import read_object
from tui_lora.store.local_model import local_place
from tui_lora.store.loftq_adapters import merges_rounded
from tui_lora.store.model_weights import shard_files
from tui_lora.store.moved_on import moved_on
from tui_lora.store.paths import SessionPaths, hub_cache_folder
from tui_lora.store.spec_now import spec_now
from tui_lora.store.weights import BadWeights, read_safetensors

QUESTIONS = 24
"""Held-out rows whose answers are scored, where the base was quantized while it was trained."""

_DTYPES = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Estimate:
    """What a merged model will take, from the headers of the base's files; None where they are not
    here yet. `dtype` is that of `auto`."""

    size_bytes: int | None
    dtype: str | None
    free_bytes: int | None


def check_out(out: Path, *, replace_it: bool) -> None:
    """Raise UserError where a merged model cannot be put at `out`.

    Only what is a merged model of ours, or empty, is ever replaced.
    """
    if not out.is_symlink() and not out.exists():
        return
    shown = clean(str(out))
    ours = out.is_dir() and not out.is_symlink() and read_object(out / RECORD) is not None
    empty = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if empty:
        return
    if not ours:
        raise UserError(
            f"{shown} is there already, and is no merged model of ours.",
            then="Choose another folder: --out FOLDER.",
        )
    if not replace_it:
        raise UserError(
            f"{shown} is there already.",
            then="Replace it with --force, or choose another folder: --out FOLDER.",
        )


def default_out(target: ChatTarget, step: int | None) -> Path:
    """Where a target's merged model goes. Raises UserError for an adapter in the Hub's cache,
    beside which nothing of ours belongs."""
    if target.session is not None:
        name = f"merged-{step}" if step is not None else "merged"
        return target.session.folder.absolute() / "exports" / name
    assert target.adapter is not None
    folder = target.adapter.absolute()
    if folder.is_relative_to(hub_cache_folder().absolute()):
        raise UserError(
            "an adapter of the Hub has no place of its own here.",
            then="Say where to write it: --out FOLDER.",
        )
    return folder.with_name(f"{folder.name}-merged")


def free_out(out: Path) -> Path:
    """`out`, or the first name after it that is free."""
    number, found = 2, out
    while found.exists() or found.is_symlink():
        found = out.with_name(f"{out.name}-{number}")
        number += 1
    return found


def step_of(target: ChatTarget) -> int | None:
    """The step that a session's adapter or checkpoint is of; None where nobody wrote it down."""
    paths = target.session
    if paths is None or target.adapter is None:
        return None
    for checkpoint in checkpoints(paths.checkpoints):
        if checkpoint.folder.name == target.adapter.name:
            return checkpoint.step
    return sessions.summarize(paths).step or None


def with_room(root: Path, target: ChatTarget, dtype: str) -> ChatTarget:
    """Where the merged model is verified: the target in 16 bits on its card, else on the CPU.

    `dtype` is that of the result. Raises UserError where neither holds it, since what cannot be
    verified is not called done.
    """
    model = target.model.model_copy(update={"dtype": dtype})
    whole = replace(target, quantization=QuantizationSpec(), model=model)
    room = look_for_room(root, [whole])
    if room.fit.verdict == "does_not_fit":
        cpu = next((way for way in room.ways if way.kind == "cpu"), None)
        if cpu is None:
            raise UserError(
                "the merged model has to be loaded once to be verified, and there is no room: "
                f"{one_line(room.fit.sentence)}",
                then="Free some memory, or merge it on a larger machine: a session can be copied.",
            )
        room = replace(room, target=cpu.target, fit=cpu.fit)
    return replace(target, devices=held_to(room.target, room.fit).devices)


def estimate(target: ChatTarget, out: Path, precision: Precision) -> Estimate:
    """Before the worker has looked. Never raises."""
    free = None
    for place in out.absolute().parents:
        if place.is_dir():
            free = shutil.disk_usage(place).free
            break
    try:
        files = [read_safetensors(path) for path in shard_files(local_place(target.model))]
    except (UserError, BadWeights, OSError):
        return Estimate(None, None if precision == "auto" else precision, free)
    counted: Counter[str] = Counter()
    for file in files:
        counted.update(file.weights_by_dtype())
    known = {name: count for name, count in counted.items() if name in _DTYPES}
    if not known:
        return Estimate(None, None, free)
    dtype = precision if precision != "auto" else _DTYPES[max(known, key=lambda n: known[n])]
    each = 4 if dtype == "float32" else 2
    return Estimate(sum(known.values()) * each, dtype, free)


def notices_of(target: ChatTarget) -> tuple[str, ...]:
    """What to know before an adapter is merged. Reads files."""
    assert target.adapter is not None
    stored = storage_words(target.quantization.scheme, took_back=merges_rounded(target.adapter))
    return tuple(words for words in (moved_on(target.adapter, target.model), stored) if words)


def questions(paths: SessionPaths | None) -> tuple[tuple[Asked, ...], str]:
    """Held-out rows that both models answer, and where they are from; none where there are none."""
    if paths is None:
        return (), ""
    try:
        spec = spec_now(paths)
        found = held_out(spec, QUESTIONS)
    except UserError:
        return (), ""
    asked = tuple(
        Asked(turns=one.turns, reference=one.reference)
        for one in found.questions
        if one.shape not in ("labelled", "text") and one.turns
    )
    # It is written into the model's card, and where the rows lie here is nobody else's business.
    source = found.source.replace(spec.dataset.path, Path(spec.dataset.path).name)
    return asked, source if asked else ""


def order_of(
    target: ChatTarget,
    *,
    out: Path,
    precision: Precision = "auto",
    replace_it: bool = False,
    step: int | None = None,
) -> Merge:
    """What the worker is told."""
    assert target.adapter is not None
    paths = target.session or session_of(target.adapter)
    spec = spec_now(paths) if paths is not None else None
    asked, asked_of = questions(paths)
    return Merge(
        model=target.model.id,
        revision=target.model.revision,
        adapter=str(target.adapter.absolute()),
        out=str(out.absolute()),
        precision=precision,
        replace=replace_it,
        quantization=target.quantization,
        devices=target.devices,
        session=paths.name if paths is not None else "",
        dataset=spec.dataset.path if spec is not None else "",
        task=spec.task if spec is not None else "",
        step=step,
        asked=asked,
        asked_of=asked_of,
    )
