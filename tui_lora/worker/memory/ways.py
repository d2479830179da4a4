"""One model trained in four ways: all of its weights, or an adapter on each of three bases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tui_lora.core.advice import OneWay, changed
from tui_lora.core.candidates import on_base
from tui_lora.core.cards import Card
from tui_lora.core.errors import UserError
from tui_lora.core.memory import Forecast
from tui_lora.core.memory_parts import WAYS, Way
from tui_lora.core.optimizers import AUTO
from tui_lora.core.spec import RunSpec
from tui_lora.core.variants import refusal
from tui_lora.worker.last_used import LastUsed
from tui_lora.worker.memory.deeper import Trace
from tui_lora.worker.memory.forecast import batch_of, cublas_bytes, in_gib, trace_of
from tui_lora.worker.memory.peak import peak_of
from tui_lora.worker.memory.recipe import Recipe
from tui_lora.worker.memory.recipe_of import config_of, in_full, recipe_of
from tui_lora.worker.memory.storages import GoOn
from tui_lora.worker.quantization import own_scheme

_BASES: tuple[tuple[Way, str], ...] = (("lora", "none"), ("int8", "int8"), ("nf4_double", "nf4"))

_traces: LastUsed[Trace] = LastUsed(4)
"""Of runs in full that were simulated, which do not change with the adapter's settings."""


def ways(
    spec: RunSpec,
    card: Card,
    simulated: Callable[[RunSpec], Forecast | None],
    context_gib: float,
    go_on: GoOn = lambda: True,
) -> Iterator[OneWay]:
    """Each of the ways, with the rows, length, checkpointing and optimizer of `spec`, which has a
    forecast. Anything that asks for a way of which nothing can be told has a `why_not`. Raises
    Dropped once `go_on` says no."""
    yield _in_full(spec, card, context_gib, go_on)
    own = own_scheme(config_of(spec.model), spec.model)
    lora = spec.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else "targets as named"
    recipe = f"{lora.variant}, rank {lora.r}, {targets}"
    for way, scheme in _BASES:
        changes = on_base(spec, scheme)
        if way == "nf4_double":
            changes["quantization.double_quant"] = True
        data = spec.model_dump(mode="json")
        same = all(data["quantization"][path.partition(".")[2]] == v for path, v in changes.items())
        run = spec if same else changed(spec, changes)
        found, why_not = None, ""
        if own and own != scheme:
            why_not = f"the model's files are quantized already ({own})"
        elif run is None:
            why_not = refusal(lora.variant, scheme) or "it would break a rule of the settings"
        else:
            found = simulated(run)
            why_not = "" if found is not None else "it cannot be told"
        yield OneWay(name=WAYS[way], recipe=recipe, forecast=found, why_not=why_not)


def _in_full(spec: RunSpec, card: Card, context_gib: float, go_on: GoOn) -> OneWay:
    optimizer = AUTO if spec.training.optimizer == "auto" else spec.training.optimizer
    recipe = (
        "weights and gradients in float32 (4 + 4 bytes a weight) and the state of "
        f"{optimizer}, computed in 16 bits"
    )
    try:
        usual, _ = recipe_of(spec, config_of(spec.model), card)
        trace = _trace(in_full(usual), *batch_of(spec), go_on)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, UserError) as error:
        return OneWay(name=WAYS["full"], recipe=recipe, why_not=f"it cannot be simulated ({error})")
    found = in_gib(peak_of(trace, cublas_bytes(card)), context_gib)
    # All of the weights are trained, and none of them is an adapter's.
    weights = found.parts.weights + found.parts.adapter
    parts = found.parts.model_copy(update={"weights": weights, "adapter": 0.0})
    return OneWay(
        name=WAYS["full"], recipe=recipe, forecast=found.model_copy(update={"parts": parts})
    )


def _trace(recipe: Recipe, rows: int, tokens: int, go_on: GoOn) -> Trace:
    settings = {**vars(recipe), "config": recipe.config.to_json_string(use_diff=False)}
    key = (str(settings), rows, tokens)
    return _traces.get(key, lambda: trace_of(recipe, rows, tokens, go_on))
