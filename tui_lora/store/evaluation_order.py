"""What an evaluate worker is told, made of a session's files: looked at before anything loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tui_lora.core.dataset_spec import DatasetSpec
from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import MAX_NEW_TOKENS, Evaluate
from tui_lora.core.evaluation import PARTS, Part
from tui_lora.core.spec import parse_spec
from tui_lora.core.task_metrics import NONE, metric_of
from tui_lora.core.text import clean, one_line
from tui_lora.store.adapters import ChatTarget, checkpoint_target, session_target
from tui_lora.store.checkpoints import checkpoints, damage
from tui_lora.store.paths import SessionPaths, expanded, is_there
from tui_lora.store.sessions import adapter_bytes
from tui_lora.store.sources import open_source
from tui_lora.store.spec_now import with_changes


@dataclass(frozen=True)
class Wanted:
    """What a person asks for; see `core.evaluate.Evaluate`. `checkpoint` is a step."""

    checkpoint: int | None = None
    parts: tuple[Part, ...] = PARTS
    metrics: tuple[str, ...] | None = None
    rows: int | None = None
    data: str | None = None
    max_tokens: int = MAX_NEW_TOKENS
    batch: int | None = None
    seed: int = 0
    devices: str | None = None
    quantization: str | None = None
    anew: bool = False


def parts_named(names: Sequence[str] | None) -> tuple[Part, ...]:
    """The parts of these names, all where none is named. Raises UserError."""
    if not names:
        return PARTS
    unknown = [name for name in names if name not in (*PARTS, NONE)]
    if unknown:
        raise UserError(
            f"there is no part {one_line(unknown[0], max_chars=40)}.",
            where="--part",
            then=f"Known: {', '.join((*PARTS, NONE))}.",
        )
    return tuple(part for part in PARTS if part in names)


def target_of(paths: SessionPaths, wanted: Wanted) -> ChatTarget:
    """The adapter that is measured, on the base as the run had it or as it is wanted. Raises
    UserError."""
    there = [checkpoint.step for checkpoint in checkpoints(paths.checkpoints)]
    steps = ", ".join(f"{step:,}" for step in there)
    if wanted.checkpoint is None:
        if adapter_bytes(paths.adapter) is None and there:
            raise UserError(
                f"{paths.name} has no adapter yet.",
                then=f"It has checkpoints at the steps {steps}: --checkpoint {there[-1]}",
            )
        return _stored_as(session_target(paths), wanted)
    for checkpoint in checkpoints(paths.checkpoints):
        if checkpoint.step == wanted.checkpoint:
            if (problem := damage(checkpoint.folder)) is not None:
                raise UserError(f"{checkpoint.folder.name} is damaged: {problem}.")
            return _stored_as(checkpoint_target(paths, checkpoint), wanted)
    raise UserError(
        f"{paths.name} has no checkpoint at step {wanted.checkpoint:,}.",
        where="--checkpoint",
        then=f"There are those at the steps {steps}." if there else "It has none.",
    )


def order_of(paths: SessionPaths, target: ChatTarget, wanted: Wanted) -> Evaluate:
    """The order for the worker. Raises UserError for metrics and files that are not there, and for
    rows that cannot be any."""
    assert target.adapter is not None
    for name in wanted.metrics or ():
        own = metric_of(name).own if name != NONE else None
        if own is not None and not expanded(own[0]).is_file():
            raise UserError("there is no such file.", where=clean(own[0]))
    data = wanted.data
    if data is not None:
        if is_there(expanded(data)):
            data = str(expanded(data).absolute())
        _look_at(data)
    return Evaluate(
        session=str(paths.folder.absolute()),
        adapter=str(target.adapter.absolute()),
        step=wanted.checkpoint,
        parts=wanted.parts,
        metrics=wanted.metrics,
        rows=wanted.rows,
        data=data,
        max_new_tokens=wanted.max_tokens,
        batch=wanted.batch,
        seed=wanted.seed,
        devices=target.devices,
        quantization=target.quantization,
        most_gib=target.most_gib,
        anew=wanted.anew,
    )


def _look_at(data: str) -> None:
    """Names and sizes only."""
    try:
        open_source(DatasetSpec(path=data))
    except UserError as error:
        raise UserError(error.what, where="--data", then=error.then) from None


def _stored_as(target: ChatTarget, wanted: Wanted) -> ChatTarget:
    """Elsewhere, or quantized otherwise, where that is wanted. Raises SpecError."""
    changes = {}
    if wanted.devices is not None:
        changes["hardware.devices"] = wanted.devices
    if wanted.quantization is not None:
        changes["quantization.scheme"] = wanted.quantization
    asked = with_changes(parse_spec({"model": "none", "dataset": "none"}), changes)
    if wanted.devices is not None:
        target = replace(target, devices=asked.hardware.devices)
    if wanted.quantization is not None:
        stored = {"scheme": asked.quantization.scheme}
        target = replace(target, quantization=target.quantization.model_copy(update=stored))
    return target
