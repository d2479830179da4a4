"""The memory that a run takes by a formula: a sum in well under a millisecond, without torch.

It holds for models built as Llama is: attention, and an MLP of two or three matrices. Each term is
what the code of transformers, peft, bitsandbytes and trl keeps, counted in bytes a token; where it
differs from the simulation, which runs that code, the simulation is right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tui_lora.core.cards import Card
from tui_lora.core.lora_spec import parse_layers
from tui_lora.core.memory import CONTEXT_GIB, Forecast, Parts
from tui_lora.core.memory_parts import Way, weights_bytes
from tui_lora.core.model_facts import ModelFacts, shape_of
from tui_lora.core.model_shape import ModelShape, ModuleGroup
from tui_lora.core.optimizers import state_bytes
from tui_lora.core.spec import RunSpec
from tui_lora.core.uncounted import uncounted

GIB = 2**30
MIB = 2**20

_AMPERE = (8, 0)
_TILE = 4096, 32768
"""Tokens and words of a tile in trl's fused loss (trl/kernels/chunked_logprob.py)."""

_CUBLAS = int(2 * 8.125 * MIB)
"""A workspace for the thread of the forward pass and one for the other (torch, ATen/cuda/
CublasHandlePool.cpp; 32 MiB each on sm90)."""

_SLACK, _SLACK_OF_PASSING = 0.015, 0.12
"""What torch's allocator holds of memory that it gave back, as a share of what stays and of what
comes and goes: the simulation's median over benchmarks/formula.py."""


@dataclass(frozen=True)
class _Run:
    """What the terms go by; bytes of a number in the base's and the adapter's precision.

    `unfused`: cards before Ampere have no fused attention for heads that share keys, unless there
    is padding.
    """

    facts: ModelFacts
    spec: RunSpec
    tokens: int
    number: int
    trained: int
    adapted: tuple[ModuleGroup, ...]
    dropout: bool
    masked: bool
    unfused: bool


def formula(
    facts: ModelFacts, spec: RunSpec, card: Card, *, context_gib: float = CONTEXT_GIB
) -> Forecast:
    """The peak of a micro-batch of the longest rows, by the formula. Its own gradients are made
    behind it; those of the micro-batches before it in a step are there."""
    if spec.task == "classification":
        # Of the output nothing is left but a row for each label.
        facts = replace(facts, tied=True)
    run = _run(facts, spec, card)
    shape = shape_of(facts)
    trainable = sum(_trainable(group, spec) for group in run.adapted)
    weights = weights_bytes(shape, _way(spec)) * (run.number // 2)
    adapter = trainable * run.trained
    optimizer = state_bytes(
        spec.training.optimizer, trainable, weight_bytes=run.trained, rank=spec.lora.r
    )
    gradients = trainable * run.trained if spec.training.accumulation > 1 else 0
    checkpointing = spec.training.gradient_checkpointing is not False
    block, kept = _block(run), _kept_past_checkpoints(run)
    entry = run.number * facts.hidden * run.tokens
    top = (4 + run.number) * facts.hidden * run.tokens
    passing = _passing(run) + _unpacked(run, shape)
    masks = 3 * run.tokens * spec.training.max_length if run.masked else 0
    kept_scores, passing_scores = _scores(run)
    loss = _loss(run)
    if checkpointing:
        every = spec.training.checkpoint_layers
        whole = facts.layers - -(-facts.layers // every)
        activations = entry * (facts.layers - whole) + (block + kept) * whole
        activations += kept * (facts.layers - whole) + kept_scores * whole
        if spec.training.gradient_checkpointing == "selective":
            activations += (
                run.tokens * (run.number * facts.queries + 4 * facts.heads) * facts.layers
            )
        workspace = block + kept_scores + passing_scores + max(passing, _gradients_in_block(run))
        phase = "backward"
    else:
        activations = (block + kept + kept_scores) * facts.layers + entry
        workspace = passing + passing_scores
        phase = "forward"
    if loss + top > workspace:
        workspace, phase = top, "backward"
    else:
        loss = 0
    workspace += masks
    taken = weights + adapter + gradients + optimizer + activations + workspace + loss + _CUBLAS
    slack = int(_SLACK * (taken - workspace) + _SLACK_OF_PASSING * workspace)
    parts = Parts(
        weights=weights / GIB,
        adapter=adapter / GIB,
        gradients=gradients / GIB,
        optimizer=optimizer / GIB,
        activations=activations / GIB,
        workspace=(workspace + slack + _CUBLAS) / GIB,
        loss=loss / GIB,
        context=context_gib,
    )
    return Forecast(
        method="formula",
        parts=parts,
        peak_allocated_gib=taken / GIB,
        peak_reserved_gib=(taken + slack) / GIB,
        phase=phase,
        reasons=_reasons(run, card, checkpointing=checkpointing),
    )


def _run(facts: ModelFacts, spec: RunSpec, card: Card) -> _Run:
    old = card.capability is not None and card.capability < _AMPERE
    wanted = spec.model.dtype
    number = 4 if wanted == "float32" else 2
    brain = wanted == "bfloat16" or (wanted == "auto" and not old)
    exact = spec.lora.variant in ("lora-fa", "pissa", "olora")
    rows = spec.training.micro_batch * (2 if spec.task == "dpo" else 1)
    compared = spec.task in ("dpo", "kto")
    masked = rows > 1 or spec.task != "sft"
    groups = shape_of(facts).modules
    return _Run(
        facts=facts,
        spec=spec,
        tokens=rows * spec.training.max_length,
        number=number,
        trained=2 if brain and not exact else 4,
        adapted=tuple(group for group in groups if _is_target(group, spec)),
        dropout=spec.lora.dropout > 0 and not compared,
        masked=masked,
        unfused=old and facts.keys != facts.queries and not masked,
    )


# -- what stands there for the whole run ------------------------------------------------------


def _way(spec: RunSpec) -> Way:
    quantization = spec.quantization
    if quantization.scheme == "none":
        return "lora"
    if quantization.scheme == "int8":
        return "int8"
    return "nf4_double" if quantization.double_quant else "nf4"


def _is_target(group: ModuleGroup, spec: RunSpec) -> bool:
    wanted = spec.lora.target_modules
    if any(group.path.endswith(f".{name}") for name in spec.lora.exclude):
        return False
    if isinstance(wanted, tuple):
        return any(f".{group.path}".endswith(f".{name}") for name in wanted)
    if wanted == "all-linear":
        return True
    if wanted in ("attention", "mlp"):
        return group.kind == wanted
    if wanted == "default":
        return group.name in ("q_proj", "v_proj")
    return re.fullmatch(wanted, group.path.replace("*", "0")) is not None


def _trainable(group: ModuleGroup, spec: RunSpec) -> int:
    """A is r x inputs and B outputs x r; DoRA has a length for each output."""
    layers = group.count
    if spec.lora.layers is not None:
        layers = sum(number < group.count for number in parse_layers(spec.lora.layers))
    inputs, outputs = group.inputs or 0, group.outputs or 0
    one = spec.lora.r * (inputs + outputs) + (outputs if spec.lora.variant == "dora" else 0)
    return layers * one


# -- what grows with the tokens ---------------------------------------------------------------


def _block(run: _Run) -> int:
    """Bytes that one layer keeps for its way back.

    norms      each in float32: 4 H
    attention  queries, keys, values and what comes of them, and a float32 a head. With padding
               keys and values are spread out to all heads
    MLP        gate, its activation, and up: 3 I; of two matrices 2 I
    adapter    each target's input once more where dropout drops of it, with a byte that says which;
               else targets of one input share it. A's output, r numbers
    """
    f, b = run.facts, run.number
    spread = f.queries if run.masked else f.keys
    kept = f.norms * 4 * f.hidden
    kept += b * (2 * f.queries + 2 * spread) + 4 * f.heads
    kept += b * (3 if f.gated else 2) * f.inner
    inputs = {
        "q_proj": "norm",
        "k_proj": "norm",
        "v_proj": "norm",
        "o_proj": "attention",
        "gate_proj": "other norm",
        "up_proj": "other norm",
        "down_proj": "inner",
    }
    seen = {"attention"}
    for group in run.adapted:
        size = group.inputs or 0
        kept += b * run.spec.lora.r
        if run.dropout:
            kept += (b + 1) * size
        elif inputs[group.name] not in seen:
            seen.add(inputs[group.name])
            kept += b * size
    return kept * run.tokens


def _kept_past_checkpoints(run: _Run) -> int:
    """int8: bitsandbytes' MatMul8bitLt holds what it multiplied in its context and not among the
    saved tensors, so checkpointing does not let go of it: the inputs of attention, of its output,
    of the MLP and of its last matrix."""
    f = run.facts
    if run.spec.quantization.scheme != "int8":
        return 0
    kept = run.number * (2 * f.hidden + f.inner) * run.tokens
    if run.spec.training.gradient_checkpointing is not False:
        kept += run.number * f.queries * run.tokens
    return kept


def _passing(run: _Run) -> int:
    """Gradients on their way through a layer."""
    f = run.facts
    return run.number * (2 * f.hidden + f.inner // 2) * run.tokens


def _gradients_in_block(run: _Run) -> int:
    """The same where the way back is in the middle of the MLP of a layer computed again."""
    f = run.facts
    return run.number * (5 * f.hidden + f.inner) * run.tokens


def _scores(run: _Run) -> tuple[int, int]:
    """What a layer keeps and what passes of every token's scores with every other, where attention
    is not fused: as many copies as in simulated runs of PyTorch's own code."""
    if not run.unfused:
        return 0, 0
    one = run.number * run.facts.heads * run.tokens * run.spec.training.max_length
    return 2 * one, 7 * one


def _unpacked(run: _Run, shape: ModelShape) -> int:
    """The largest weight in 16 bits: 4 bits are unpacked to multiply, int8 on the way back."""
    if run.spec.quantization.scheme == "none":
        return 0
    sizes = [(group.inputs or 0) * (group.outputs or 0) for group in shape.modules]
    return 2 * max(sizes, default=0)


def _loss(run: _Run) -> int:
    """trl's fused head: a tile of logits, the gradient of the last hidden states in float32 and
    once more in 16 bits; eight numbers a token. transformers' own, for labels, is next to none."""
    if run.spec.task == "classification":
        return 0
    tokens, words = _TILE
    tile = min(run.tokens, tokens) * words * run.number
    return tile + run.tokens * ((4 + run.number) * run.facts.hidden + 8 * 4)


def _reasons(run: _Run, card: Card, *, checkpointing: bool) -> tuple[str, ...]:
    reasons = ["by a formula, which knows models built as Llama is; the simulation is more exact"]
    if card.capability is None:
        reasons.append("a card from sm80 (Ampere) on is assumed")
    elif run.unfused:
        reasons.append(
            "without padding this card has no fused attention for grouped heads, so that every "
            "token's scores are kept"
        )
    if run.spec.quantization.scheme == "int8" and checkpointing:
        reasons.append("int8 keeps what it multiplied in spite of checkpointing")
    if run.spec.lora.variant == "dora":
        reasons.append("not counted: DoRA puts whole weights together")
    if run.spec.lora.rank_pattern:
        reasons.append("all layers are counted with the same rank")
    if run.spec.model.attention == "eager":
        reasons.append("not counted: the scores that eager attention keeps of every two tokens")
    if run.spec.lora.modules_to_save or run.spec.lora.new_tokens:
        reasons.append("not counted: what is trained beside the adapter")
    return (*reasons, *uncounted(run.spec))
