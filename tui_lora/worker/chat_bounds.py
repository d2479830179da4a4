"""What a chat is held to beside a training: tokens of a conversation, and its share of the card."""

from __future__ import annotations

from typing import Any

GIB = 2**30


def conversation_tokens(config: Any, most: int | None) -> int | None:
    """The longest conversation: what the model was built for, and no more than `most`."""
    from tui_lora.worker.model import context_tokens

    known = [tokens for tokens in (context_tokens(config), most) if tokens]
    return min(known, default=None)


def hold_to(most_gib: float | None) -> None:
    """Let torch take no more than `most_gib` of the card from now on: its allocator then gives back
    what it holds and does not use, and else memory runs out here and not in a training."""
    import torch

    if most_gib is None or not torch.cuda.is_available():
        return
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most_gib * GIB / total), 0)
