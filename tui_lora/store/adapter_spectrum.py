"""The singular values of what an adapter adds to its base: read from its files, without torch.

ΔW = scaling B A is never put together. Its squared singular values are the eigenvalues of
S A A' S with S S = B' B, which is r x r: of a 7B model in a tenth of a second, where QR
decompositions of both factors take seconds. In float64 that is exact to 1e-8 of the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tui_lora.core.adapter_figures import AdapterFigures, Change, figures
from tui_lora.core.adapter_layers import Factors, layout
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line
from tui_lora.core.variants import CHANGE_THE_BASE
from tui_lora.store import sessions
from tui_lora.store.adapter_files import CONFIG, WEIGHTS, check_adapter_files
from tui_lora.store.adapters import session_of
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.loftq_adapters import of_loftq
from tui_lora.store.paths import SessionPaths, expanded
from tui_lora.store.spec_now import spec_now
from tui_lora.store.tensors import Array, TensorFile
from tui_lora.store.weights import BadWeights

_CHANGE_IT_TOO = ("corda", "lora_ga")
"""Ways to begin that peft has and we do not, which take it out of the base as well."""

OnProgress = Callable[[int, int], object]
"""Layers that are done, and all."""


@dataclass(frozen=True)
class AdapterPlace:
    """An adapter on disk. `step` is that of a checkpoint; `session` is None for a folder alone."""

    title: str
    folder: Path
    session: SessionPaths | None = None
    step: int | None = None


class Stopped(Exception):
    """Nobody waits for the figures any more."""


def place_of(root: Path, text: str) -> AdapterPlace:
    """What `text` means: a session of `root`, `NAME@STEP` for a checkpoint of one, a folder.
    Raises UserError."""
    name, at, step = text.rpartition("@")
    if "/" not in text and at and (root / name / "run.yaml").is_file():
        there = session_places(sessions.find(root, name))
        found = next((one for one in there if str(one.step) == step), None)
        if found is None:
            steps = ", ".join(str(one.step) for one in there if one.step is not None)
            raise UserError(
                f"{name} has no checkpoint of step {clean(step, max_chars=40)}.",
                then=f"It has those of: {steps}." if steps else "It has none.",
            )
        return found
    if "/" not in text and (root / text / "run.yaml").is_file():
        return _of_session(sessions.find(root, text))
    folder = expanded(text).absolute()
    if (folder / CONFIG).is_file():
        paths = session_of(folder)
        if paths is not None:
            there = session_places(paths)
            return next((one for one in there if one.folder == folder), there[-1])
        return AdapterPlace(clean(folder.name), folder)
    if (folder / "run.yaml").is_file():
        return _of_session(SessionPaths(folder))
    raise UserError(
        f"there is no adapter {one_line(text, max_chars=200)}: no session of that name, and no "
        f"folder with {CONFIG}.",
        then="Give a session, NAME@STEP for a checkpoint of it, or a PEFT folder.",
    )


def _of_session(paths: SessionPaths) -> AdapterPlace:
    there = session_places(paths)
    if not there:
        raise UserError(
            f"{paths.name} has no adapter and no checkpoint yet.",
            then="They are saved on the way and when the run ends.",
        )
    return there[-1]


def session_places(paths: SessionPaths) -> list[AdapterPlace]:
    """A session's checkpoints by their steps, then its adapter where it has one."""
    found = [
        AdapterPlace(f"{paths.name} at step {one.step:,}", one.folder, paths, one.step)
        for one in checkpoints(paths.checkpoints)
        if (one.folder / WEIGHTS).is_file()
    ]
    if sessions.adapter_bytes(paths.adapter) is not None:
        found.append(AdapterPlace(paths.name, paths.adapter, paths))
    return found


def figures_of(
    place: AdapterPlace,
    on_progress: OnProgress = lambda done, of: None,
    go_on: Callable[[], bool] = lambda: True,
) -> AdapterFigures:
    """Every layer's change; raises UserError for what is no LoRA adapter, and Stopped once `go_on`
    is false. Blocks."""
    config = check_adapter_files(place.folder)
    shown = clean(str(place.folder))
    if config.get("peft_type") != "LORA":
        raise UserError(f"{shown} is no LoRA adapter but {one_line(str(config.get('peft_type')))}.")
    try:
        file = TensorFile(place.folder / WEIGHTS)
        told = layout(file.shapes, config)
        changes, broken = [], 0
        for done, one in enumerate(told.factors):
            if not go_on():
                raise Stopped
            for change in _changes(file, one):
                if change is None:
                    broken += 1
                else:
                    changes.append(change)
            on_progress(done + 1, len(told.factors))
    except BadWeights as error:
        raise UserError(
            f"its weights cannot be read: {WEIGHTS} {error}.",
            where=shown,
            then="Copy the adapter again.",
        ) from None
    left_out = [*told.left_out, *([f"{broken:,} x layers with NaN or inf"] if broken else [])]
    if not changes:
        raise UserError(
            f"{shown} holds no pair of LoRA factors that can be read.",
            then=f"It holds: {'; '.join(left_out)}." if left_out else "",
        )
    began_with = _began_with(place, config)
    notices = tuple(_notices(began_with, config))
    return figures(place.title, changes, notices, tuple(left_out), began_with)


def _changes(file: TensorFile, one: Factors) -> Iterator[Change | None]:
    """The changes of a layer, one for each expert; None for what is not finite."""
    a, b = file.read(one.a), file.read(one.b)
    inputs, outputs = a[0].size, b.shape[0]
    # Of a stack: A has its experts one below the other, B side by side and the rank outside
    # (peft's `ParamWrapper.get_delta_weight`). A convolution's kernel counts as inputs.
    tall = a.reshape(one.experts, one.r, inputs)
    wide = b.reshape(outputs, one.r, one.experts)
    for expert in range(one.experts):
        values = _singular(wide[:, :, expert], tall[expert])
        if values is None:
            yield None
            continue
        spectrum = tuple(value * abs(one.scaling) for value in values)
        yield Change(one.path, one.r, one.scaling, outputs, inputs, spectrum)


def _singular(b: Array, a: Array) -> list[float] | None:
    """Singular values of B A, the largest first."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
    squares, vectors = np.linalg.eigh(exact_b.T @ exact_b)
    root = (vectors * np.sqrt(np.maximum(squares, 0))) @ vectors.T
    found = np.linalg.eigvalsh(root @ (exact_a @ exact_a.T) @ root)
    return [math.sqrt(max(value, 0.0)) for value in found[::-1].tolist()]


def _began_with(place: AdapterPlace, config: dict[str, Any]) -> str:
    """The variant whose beginning is a part of ΔW; empty where all of it was learned."""
    begins = str(config.get("init_lora_weights")).lower()
    if begins.startswith((*CHANGE_THE_BASE, *_CHANGE_IT_TOO)):
        return one_line(begins, max_chars=20)
    if of_loftq(place.folder):
        return "loftq"
    variant = _variant(place)
    return variant if variant in CHANGE_THE_BASE else ""


def _variant(place: AdapterPlace) -> str:
    if place.session is None:
        return ""
    try:
        return spec_now(place.session).lora.variant
    except UserError:
        return ""


def _notices(began_with: str, config: dict[str, Any]) -> Iterator[str]:
    begins = str(config.get("init_lora_weights")).lower()
    if began_with == "loftq":
        yield "loftq begins with what quantization rounded away: that part is in the figures too."
    elif began_with and begins.startswith(began_with):
        yield (
            f"{began_with} takes what the adapter begins with out of the base, so these figures "
            "hold that part too, and not only what was learned."
        )
    elif began_with:
        yield (
            f"{began_with} is converted when it is saved, at twice the rank: a half of it takes "
            "back what the other began with, so r in use says little."
        )
    if config.get("use_dora"):
        yield (
            "dora learns each output's length apart from its direction; the figures are of B A "
            "alone, without the lengths."
        )
