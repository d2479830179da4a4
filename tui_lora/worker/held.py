"""How much memory the live parts of a run hold: the storages of their tensors, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch


def held_by(model: Any, optimizer: Any, device: str) -> dict[str, int]:
    """Bytes on `device` (cpu, or any name of a card) of the frozen weights with what quantizes
    them, of what is trained, its gradients and the optimizer's state. Asks the card nothing.

    Pages that bitsandbytes keeps for both sides are no memory of torch's, and are left out.
    """
    seen: set[int] = set()
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    states = optimizer.state.values() if optimizer is not None else ()
    kept = {
        # The gradients first: what stands for a parameter may also hang on its module.
        "gradients": (parameter.grad for parameter in trained),
        "adapter": trained,
        "optimizer": (tensor for state in states for tensor in _inside(state)),
        "weights": (*frozen, *model.buffers(), *_of_quantization(model, frozen)),
    }
    on_card = device != "cpu"
    sizes = {name: _bytes(tensors, on_card, seen) for name, tensors in kept.items()}
    return {name: sizes[name] for name in ("weights", "adapter", "gradients", "optimizer")}


def _bytes(tensors: Iterable[Any], on_card: bool, seen: set[int]) -> int:
    total = 0
    for tensor in tensors:
        if tensor is None or tensor.is_meta or getattr(tensor, "is_paged", False):
            continue
        if (tensor.device.type != "cpu") is not on_card:
            continue
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def _of_quantization(model: Any, weights: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Scales and codes that stand beside packed weights: bitsandbytes keeps them on the parameter
    (4 bits), or on the layer (8 bits)."""
    for weight in weights:
        for name in ("quant_state", "CB", "SCB"):
            yield from _inside(getattr(weight, name, None))
    for module in model.modules():
        state = getattr(module, "state", None)
        yield from (
            tensor for name in ("CB", "SCB") for tensor in _inside(getattr(state, name, None))
        )


def _inside(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, dict):
        for one in value.values():
            yield from _inside(one, depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for one in value:
            yield from _inside(one, depth - 1)
    elif depth and hasattr(value, "__dict__"):
        for one in vars(value).values():
            yield from _inside(one, depth - 1)
