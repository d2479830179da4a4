"""A run spec's peak on a card, simulated from the model's config alone."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

from transformers import PreTrainedConfig

from tui_lora.core.cards import Card
from tui_lora.core.memory import CONTEXT_GIB, Forecast, Parts
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.worker.memory.between import Between, Point
from tui_lora.worker.memory.deeper import Irregular, Trace, deepened, plain, shallow_layers
from tui_lora.worker.memory.peak import Peak, peak_of
from tui_lora.worker.memory.recipe import Recipe
from tui_lora.worker.memory.recipe_of import (
    NotKnown,
    config_of,
    not_covered,
    period_of,
    recipe_of,
)
from tui_lora.worker.memory.step import run_step
from tui_lora.worker.memory.storages import GoOn
from tui_lora.worker.quantization import own_scheme

GIB = 2**30
MIB = 2**20

_HOPPER = (9, 0)
_MOST_TOKENS = 2**22
_SCATTER = 0.07
"""How far the reserved peaks of one run were apart at most where it was published more than once
(ten runs on a T4; 2.4 % in the median): see benchmarks/memory.py."""
_NOT_FOR_THIS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a kind of model raises that cannot be run so."""


@dataclass(frozen=True)
class Unknown:
    """Why there is no figure."""

    reason: str


@dataclass(frozen=True)
class Simulation:
    """What a run would do, whatever its rows and tokens are, and what was seen at some of them."""

    recipe: Recipe
    reasons: tuple[str, ...]
    stored: str = ""
    known: Between = field(default_factory=Between)


def forecast(spec: RunSpec, card: Card, *, context_gib: float = CONTEXT_GIB) -> Forecast | Unknown:
    """The peak of a step with the longest rows. Raises UserError for a spec that cannot be run.

    No code of a model's own is run for it.
    """
    found = prepared(spec, card)
    if isinstance(found, Unknown):
        return found
    return simulated(found, spec, card, context_gib=context_gib)


def prepared(spec: RunSpec, card: Card) -> Simulation | Unknown:
    """Raises UserError for a spec that cannot be run."""
    try:
        config = config_of(spec.model)
        why = not_covered(spec, config)
        if why:
            return Unknown(why)
        recipe, reasons = recipe_of(spec, config, card)
        return Simulation(recipe, tuple(reasons), own_scheme(config, spec.model))
    except NotKnown as error:
        return Unknown(str(error))
    except _NOT_FOR_THIS as error:
        return _cannot(error)


def simulated(
    simulation: Simulation,
    spec: RunSpec,
    card: Card,
    *,
    context_gib: float = CONTEXT_GIB,
    go_on: GoOn = lambda: True,
) -> Forecast | Unknown:
    """The peak with the rows and tokens of `spec`, by running two steps; remembers what it saw.
    Raises Dropped once `go_on` says no."""
    rows, tokens = batch_of(spec)
    why = _too_many(rows * tokens)
    if why:
        return Unknown(why)
    try:
        trace = trace_of(simulation.recipe, rows, tokens, go_on)
    except _NOT_FOR_THIS as error:
        return _cannot(error)
    simulation.known.add(rows, tokens, trace)
    return _told(simulation, trace, card, context_gib)


def between(simulation: Simulation, spec: RunSpec, card: Card) -> Forecast | None:
    """The peak with the rows and tokens of `spec` from what was seen at others; None where they lie
    beyond those."""
    trace = simulation.known.at(*batch_of(spec))
    if trace is None:
        return None
    return _told(simulation, trace, card, CONTEXT_GIB)


def _told(simulation: Simulation, trace: Trace, card: Card, context_gib: float) -> Forecast:
    peak = peak_of(trace, cublas_bytes(card))
    bound = (
        f"up to {(1 + _SCATTER) * peak.reserved / GIB:.1f} GiB may be reserved: how memory can be "
        "used again depends on what was there before, and the same runs measured twice were up to "
        f"{_SCATTER:.0%} apart"
    )
    found = in_gib(peak, context_gib, (*simulation.reasons, bound))
    return found.model_copy(update={"stored": simulation.stored})


def batch_of(spec: RunSpec) -> Point:
    """Rows and tokens that go through the model at once."""
    rows = spec.training.micro_batch * (2 if spec.task == "dpo" else 1)
    return rows, spec.training.max_length


def _cannot(error: Exception) -> Unknown:
    words = one_line(str(error), max_chars=160) or type(error).__name__
    return Unknown(f"this kind of model cannot be run without weights ({words})")


def trace_of(recipe: Recipe, rows: int, tokens: int, go_on: GoOn = lambda: True) -> Trace:
    """Every storage of two steps at the model's full depth: of a few of its layers where those in
    the middle do all the same, else of all. Raises Dropped once `go_on` says no."""
    config = recipe.config.get_text_config()
    depth = int(config.num_hidden_layers)
    period = math.lcm(period_of(config), recipe.every_layers if recipe.checkpointing else 1)
    shallow, period = shallow_layers(depth, period)
    if shallow < depth and not recipe.uneven:
        few = replace(recipe, config=_with_layers(recipe.config, shallow))
        try:
            return deepened(run_step(few, rows, tokens, go_on), depth, period)
        except Irregular:
            pass
    return plain(run_step(recipe, rows, tokens, go_on))


def in_gib(peak: Peak, context_gib: float, reasons: tuple[str, ...] = ()) -> Forecast:
    """The parts of a peak. What the allocator holds and nobody uses is workspace."""
    kinds: Counter[str] = Counter(peak.kinds)
    gap = peak.reserved - kinds.total()
    parts = Parts(
        weights=(kinds["packed"] + kinds["leftovers"]) / GIB,
        adapter=kinds["adapter"] / GIB,
        gradients=kinds["gradients"] / GIB,
        optimizer=kinds["optimizer"] / GIB,
        activations=kinds["activations"] / GIB,
        workspace=(kinds["workspace"] + gap) / GIB,
        loss=kinds["loss"] / GIB,
        context=context_gib,
    )
    return Forecast(
        method="simulated",
        parts=parts,
        peak_allocated_gib=peak.allocated / GIB,
        peak_reserved_gib=peak.reserved / GIB,
        phase=peak.phase,
        reasons=reasons,
    )


def cublas_bytes(card: Card) -> int:
    """What cuBLAS keeps: one workspace for the thread of the forward pass and one for that of the
    backward pass. Source: torch, ATen/cuda/CublasHandlePool.cpp (8.125 MiB, 32 MiB on sm90)."""
    each = 32 * MIB if card.capability is not None and card.capability >= _HOPPER else 8.125 * MIB
    return int(2 * each)


def _too_many(tokens: int) -> str:
    if tokens <= _MOST_TOKENS:
        return ""
    return f"{tokens:,} tokens at once are more than are simulated ({_MOST_TOKENS:,})"


def _with_layers(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    changed = config.__class__.from_dict(config.to_dict())
    text = changed.get_text_config()
    kinds = getattr(text, "layer_types", None)
    text.num_hidden_layers = layers
    if kinds:
        text.layer_types = list(kinds)[:layers]
    return changed
