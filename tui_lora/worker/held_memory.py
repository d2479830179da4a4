"""What a chat worker holds in memory, asked of torch or of the system."""

from __future__ import annotations

import gc
from typing import Any

from tui_lora.core.chat import MemoryHeld

GIB = 2**30


def memory_held(device: str) -> MemoryHeld:
    """On a card torch's own figures; on the CPU the process's resident memory."""
    if device == "cpu":
        import psutil

        return MemoryHeld(device=device, allocated_gib=psutil.Process().memory_info().rss / GIB)
    import torch

    return MemoryHeld(
        device=device,
        allocated_gib=torch.cuda.memory_allocated() / GIB,
        reserved_gib=torch.cuda.memory_reserved() / GIB,
    )


def weights_bytes(model: Any) -> int:
    """Bytes of a model's parameters and buffers, adapters included; shared ones count once."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
