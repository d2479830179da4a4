"""What comes and goes on a card while a model is loaded, before the first step.

What is left behind decides where everything later finds room, and so what torch reserves. From
transformers 5.23 (core_model_loading.py, and caching_allocator_warmup of modeling_utils.py): a
block as large as the weights is taken and given back, then the tensors come in the order of their
names in 16 bits, and each is quantized before the next one comes. From peft 0.21 (utils/other.py):
prepare_model_for_kbit_training makes one after the other float32, and empties the cache.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn

from tui_lora.worker.memory.recipe import Recipe
from tui_lora.worker.memory.storages import Storages

_BLOCK = 64
"""Weights that share a scale (bitsandbytes)."""

Part = tuple[int | None, list[tuple[str, nn.Module]]]
"""Modules with their names: those of a layer by its number, or those outside of all layers."""


def load(
    recipe: Recipe, parts: list[Part], adapters: Container[int], storages: Storages
) -> dict[int | None, int]:
    """Count the weights as they come; the bytes that room is made for beforehand, by layer.

    `adapters` are the ids of the tensors that are no part of the base.
    """
    room: dict[int | None, int] = {}
    halves: dict[int, int] = {}
    seen: set[int] = set()
    for layer, modules in parts:
        storages.mark((0, "weights", layer))
        room[layer] = 0
        for module, name, tensor in _tensors(recipe, modules):
            if id(tensor) in adapters or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if recipe.loading != "moved":
                room[layer] += _room_for(recipe, module, name, tensor)
            if _is_packed(module, name):
                _quantize(recipe, module, storages)
            elif recipe.fp32_rest and isinstance(tensor, nn.Parameter):
                size = tensor.numel() * recipe.dtype.itemsize
                halves[id(tensor)] = storages.take(size, "leftovers")
            else:
                storages.add(tensor, "leftovers")
    if recipe.fp32_rest:
        _widen(recipe, parts, halves, storages)
    for layer, modules in parts:
        storages.mark((0, "adapter", layer))
        for _, _, tensor in _tensors(recipe, modules):
            if id(tensor) in adapters:
                storages.add(tensor, "adapter")
    return room


def _widen(recipe: Recipe, parts: list[Part], halves: dict[int, int], storages: Storages) -> None:
    for layer, modules in parts:
        storages.mark((0, "widened", layer))
        for _, _, tensor in _tensors(recipe, modules):
            if (half := halves.pop(id(tensor), None)) is not None:
                storages.add(tensor, "leftovers")
                storages.drop(half)
    if recipe.empties_cache:
        storages.mark((0, "emptied", None))
        storages.empty_cache()


def _tensors(
    recipe: Recipe, modules: list[tuple[str, nn.Module]]
) -> Iterator[tuple[nn.Module, str, torch.Tensor]]:
    if recipe.loading != "moved":
        modules = sorted(modules, key=lambda one: one[0])
    for _, module in modules:
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield module, name, tensor


def _is_packed(module: nn.Module, name: str) -> bool:
    return isinstance(module, Linear4bit | Linear8bitLt) and name == "weight"


def _room_for(recipe: Recipe, module: Any, name: str, tensor: torch.Tensor) -> int:
    """Bytes that transformers counts for a tensor: half a byte a weight of 4 bits."""
    if name in module._non_persistent_buffers_set:
        return 0
    if _is_packed(module, name):
        count = int(module.in_features * module.out_features)
        return count // 2 if isinstance(module, Linear4bit) else count
    floating = tensor.is_floating_point()
    return tensor.numel() * (recipe.dtype.itemsize if floating else tensor.element_size())


def _quantize(recipe: Recipe, module: Any, storages: Storages) -> None:
    """A weight comes whole, and what is made of it stays: bitsandbytes' functional.quantize_4bit
    and nn.modules.Int8Params."""
    count = module.in_features * module.out_features
    passing: list[int] = []

    def comes(size_bytes: int) -> None:
        if recipe.loading != "stored":
            passing.append(storages.take(size_bytes, "packed"))

    comes(count * recipe.dtype.itemsize)
    if isinstance(module, Linear8bitLt):
        # bitsandbytes quantizes float16 alone.
        comes(count * 2)
        kept = [module.state.SCB, module.state.CB]
    else:
        state: Any = module.quant_state
        kept = [state.absmax, module.weight, state.code]
        if state.state2 is not None:
            scales = -(-count // _BLOCK) * 4
            comes(scales)
            for tensor in (module.weight, state.offset):
                storages.add(tensor, "packed")
            comes(scales)
            kept = [state.state2.code, state.state2.absmax, state.absmax, state.code]
    for tensor in kept:
        storages.add(tensor, "packed")
    for number in reversed(passing):
        storages.drop(number)
