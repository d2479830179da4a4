"""Where the memory goes in five ways to train one model: what stands there for the whole run.

What grows with the tokens (activations, loss, the workspace of a multiplication) is not in it: it
comes on top, and grows with micro-batch x max length. Nor is what the driver takes for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tui_lora.core.model_shape import ModelShape

Way = Literal["full", "lora", "int8", "nf4", "nf4_double"]

WAYS: dict[Way, str] = {
    "full": "full fine-tuning",
    "lora": "LoRA, 16 bits",
    "int8": "LoRA, int8",
    "nf4": "QLoRA, nf4",
    "nf4_double": "QLoRA, nf4 double",
}

GIB = 1 << 30
BLOCK = 64
"""Weights that share a scale (bitsandbytes' blocksize for 4 bits)."""
SCALES_BLOCK = 256
"""Scales that share a scale of their own with double quantization."""


@dataclass(frozen=True)
class MemoryParts:
    """Bytes of one way to train: the frozen base's `weights` (all weights, where they are trained),
    the `adapter`, the `gradients` and the `optimizer`'s state of what is trained."""

    way: Way
    weights: int
    adapter: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.gradients + self.optimizer


def memory_parts(
    shape: ModelShape, trainable: int, way: Way, *, adapter_bytes: int = 2
) -> MemoryParts:
    """What training `shape` this way holds. `trainable` counts the adapter's weights.

    full    16 B a weight: float32 weights and gradients (4 + 4) and AdamW's two float32 means (8),
            computed in bfloat16. That is what transformers' bf16 training does with weights loaded
            in float32, and the sum that is usually reckoned with (ZeRO, arXiv 1910.02054, section
            3.1, has it as 2 + 2 + 12). All in bfloat16 it would be 8 B, and steps much smaller than
            a weight would be rounded away.
    others  the base as `weights_bytes` has it; the adapter and its gradients `adapter_bytes` a
            weight each, and AdamW's two means as much again each, since torch keeps them in the
            weight's own precision: 2 for bfloat16 (cards from Ampere on), 4 for float32 (older
            cards, the CPU).
    """
    if way == "full":
        return MemoryParts(way, 4 * shape.parameters, 0, 4 * shape.parameters, 8 * shape.parameters)
    one = adapter_bytes * trainable
    return MemoryParts(way, weights_bytes(shape, way), one, one, 2 * one)


def weights_bytes(shape: ModelShape, way: Way) -> int:
    """The frozen base in memory, as bitsandbytes lays it out:

    lora        2 B a weight
    int8        1 B a packed weight, and 4 B (a float32 scale) for each output of a layer
    nf4         1/2 B a packed weight, and 4 B (a float32 scale) for each 64: 0.5625 B
    nf4_double  1/2 B a packed weight, 1 B for each 64, and 4 B for each 64 x 256: 0.51587 B

    Weights that are not packed (embeddings, norms, biases, the output) take 2 B. Left out: the code
    tables of 4 bits, 64 B a layer, and 1,028 B more with double quantization.
    """
    if way == "lora":
        return 2 * shape.parameters
    packed, held = 0, 0
    for group in shape.modules:
        if not group.packed:
            continue
        one = group.parameters // group.count
        if group.inputs and group.outputs:
            # A bias is counted with its layer, and is not packed.
            one = group.inputs * group.outputs
        packed += group.count * one
        held += group.count * packed_bytes(one, group.outputs or 0, way)
    return held + 2 * (shape.parameters - packed)


def packed_bytes(weights: int, outputs: int, way: Way) -> int:
    """A layer of `weights` as bitsandbytes stores it, its scales with it and its tables not."""
    if way == "int8":
        return weights + 4 * outputs
    scales = -(-weights // BLOCK)
    if way == "nf4":
        return -(-weights // 2) + 4 * scales
    return -(-weights // 2) + scales + 4 * -(-scales // SCALES_BLOCK)


def bits_per_weight(way: Way, inputs: int = 4096) -> float:
    """How many bits a packed weight takes, its share of the scales with it; `inputs` of a layer
    share an int8 scale."""
    return {
        "full": 32.0,
        "lora": 16.0,
        "int8": 8 + 32 / inputs,
        "nf4": 4 + 32 / BLOCK,
        "nf4_double": 4 + 8 / BLOCK + 32 / (BLOCK * SCALES_BLOCK),
    }[way]
