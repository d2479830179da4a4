"""A model of the true shapes and precisions whose weights are fake: sizes without bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, int8_vectorwise_dequant
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

_BLOCK, _BLOCK_OF_SCALES = 64, 256


def give_fake_weights(model: nn.Module, fake: FakeTensorMode) -> None:
    """Put fake tensors of `fake`, on the CPU, in the place of every parameter and buffer of a model
    on torch's meta device; quantized ones as bitsandbytes stores them once they are on a card."""
    made: dict[int, torch.Tensor] = {}
    kept: list[torch.Tensor] = []

    def faked(tensor: torch.Tensor) -> torch.Tensor:
        # Tied weights stay tied; the meta ones are kept, so that no id comes twice.
        if id(tensor) not in made:
            kept.append(tensor)
            with fake:
                new = torch.empty(tuple(tensor.shape), dtype=tensor.dtype)
                if isinstance(tensor, nn.Parameter):
                    new = nn.Parameter(new, requires_grad=tensor.requires_grad)
            made[id(tensor)] = new
        return made[id(tensor)]

    for module in model.modules():
        skip = ""
        if isinstance(module, Linear4bit):
            _pack_4bit(module, fake)
            skip = "weight"
        elif isinstance(module, Linear8bitLt):
            _pack_int8(module, fake)
            skip = "weight"
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and name != skip:
                module._parameters[name] = faked(parameter)  # type: ignore[assignment]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = faked(buffer)


def unpacked(module: Any) -> torch.Tensor:
    """The weight of a layer as it is computed with, which peft asks for to begin and use DoRA."""
    weight: torch.Tensor = module.weight
    if weight.device.type == "meta":
        return torch.empty(module.weight.shape, device="meta", dtype=torch.float32)
    if isinstance(module, Linear4bit):
        return dequantize_4bit(weight, module.quant_state)
    if isinstance(module, Linear8bitLt):
        found: torch.Tensor = int8_vectorwise_dequant(weight, module.state.SCB)
        return found
    return weight


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """What `module` calls `name` is `value` while this is open."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _pack_4bit(module: Any, fake: FakeTensorMode) -> None:
    rows, columns = module.out_features, module.in_features
    count = rows * columns
    blocks = -(-count // _BLOCK)
    double = bool(module.weight.compress_statistics)
    kind = str(module.weight.quant_type)
    with fake:
        weight = nn.Parameter(
            torch.empty((count + 1) // 2, 1, dtype=torch.uint8), requires_grad=False
        )
        scales = None
        if double:
            scales = QuantState(
                absmax=torch.empty(-(-blocks // _BLOCK_OF_SCALES)),
                code=torch.empty(256),
                blocksize=_BLOCK_OF_SCALES,
                dtype=torch.float32,
            )
        state = QuantState(
            absmax=torch.empty(blocks, dtype=torch.uint8 if double else torch.float32),
            shape=torch.Size((rows, columns)),
            code=torch.empty(16),
            blocksize=_BLOCK,
            quant_type=kind,
            dtype=module.compute_dtype,
            offset=torch.empty(()) if double else None,
            state2=scales,
        )
    weight.quant_state = state  # type: ignore[attr-defined]
    weight.bnb_quantized = True  # type: ignore[attr-defined]
    weight.quant_type = kind  # type: ignore[attr-defined]
    weight.compress_statistics = double  # type: ignore[attr-defined]
    module._parameters["weight"] = weight
    module.quant_state = state
    module.support_avx512bf16_for_cpu = False


def _pack_int8(module: Any, fake: FakeTensorMode) -> None:
    rows, columns = module.out_features, module.in_features
    with fake:
        weight = nn.Parameter(torch.empty(rows, columns, dtype=torch.int8), requires_grad=False)
        scales = torch.empty(rows)
    # After the first forward the layer keeps them in its state.
    module._parameters["weight"] = weight
    module.state.CB, module.state.SCB = weight.data, scales
    module.weight.CB, module.weight.SCB = None, None
