"""What a run begins with, and what its first step does not show of its memory, in words."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch

from tui_lora.core.spec import TrainingSpec
from tui_lora.core.text import number
from tui_lora.worker.memory.states import states_of

GIB = 2**30


def how_it_begins(trainer: Any, training: TrainingSpec) -> str:
    """What the first micro-batch of a trainer of `worker/trainer.py` is, and what comes on top of
    the same rows later."""
    order = islice(iter(trainer._get_train_sampler()), trainer.first_rows)
    first = [int(trainer.row_lengths[row]) for row in order]
    what = "longest row" if len(first) == 1 else f"{len(first):,} longest rows"
    trained = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    several = training.accumulation > 1
    beside = " and gradients" if several else ""
    more = on_top(trained, training.optimizer, gradients=several) / GIB
    return (
        f"training begins with the {what}, {max(first):,} tokens at most: if memory does not "
        f"suffice for that, it shows in the first step. Later {number(more)} GiB come on top: "
        f"the optimizer's state{beside}"
    )


def on_top(trained: Iterable[torch.Tensor], optimizer: str, *, gradients: bool) -> int:
    """Bytes of what stands beside a micro-batch of later steps and did not beside the first: what
    the optimizer keeps and, in a step of several micro-batches, the gradients of those before."""
    found = 0
    for weight in trained:
        states = states_of(optimizer, weight)
        found += sum(count * dtype.itemsize for count, dtype in states)
        found += weight.numel() * weight.element_size() if gradients else 0
    return found
