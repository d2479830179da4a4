"""What training all of a model's weights takes, by the formula: to lay an adapter's beside it."""

from __future__ import annotations

from tui_lora.core.cards import Card
from tui_lora.core.memory import CONTEXT_GIB, Forecast
from tui_lora.core.memory_formula import GIB, formula
from tui_lora.core.memory_parts import memory_parts
from tui_lora.core.model_facts import ModelFacts, shape_of
from tui_lora.core.optimizers import AUTO, state_bytes
from tui_lora.core.spec import RunSpec

_COPY = 2
"""Bytes of a weight's copy in 16 bits, which torch's autocast keeps from the forward pass on until
the step is done."""

_SLACK = 0.02
_HEADS_TIED, _HEADS = 3, 1
"""What torch's allocator holds and nobody uses, and how many times the output layer in float32
comes on top while its gradient is put together: as in the simulation (`worker/memory/ways.py`) of
five shapes from 0.5 to 9 B, which this is within 3 % of."""


def in_full(
    facts: ModelFacts, spec: RunSpec, card: Card, *, context_gib: float = CONTEXT_GIB
) -> Forecast:
    """The peak of a step with the rows, length, checkpointing and optimizer of `spec`: weights and
    gradients in float32 (`memory_parts.memory_parts`), and what `formula` has of activations."""
    plain = spec.quantization.model_copy(update={"scheme": "none"})
    found = formula(
        facts, spec.model_copy(update={"quantization": plain}), card, context_gib=context_gib
    )
    shape = shape_of(facts)
    held = memory_parts(shape, 0, "full")
    optimizer = AUTO if spec.training.optimizer == "auto" else spec.training.optimizer
    state = state_bytes(optimizer, shape.parameters, weight_bytes=4)
    heads = _HEADS_TIED if facts.tied else _HEADS
    passing = _COPY * shape.parameters + heads * 4 * facts.vocabulary * facts.hidden
    slack = int(_SLACK * (held.weights + held.gradients + state + passing))
    parts = found.parts.model_copy(
        update={
            "weights": held.weights / GIB,
            "adapter": 0.0,
            "gradients": held.gradients / GIB,
            "optimizer": state / GIB,
            "workspace": found.parts.workspace + (passing + slack) / GIB,
        }
    )
    more = parts.total - found.parts.total
    return found.model_copy(
        update={
            "parts": parts,
            "peak_allocated_gib": found.peak_allocated_gib + more - slack / GIB,
            "peak_reserved_gib": found.peak_reserved_gib + more,
        }
    )
