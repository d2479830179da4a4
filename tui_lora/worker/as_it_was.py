"""A model that is used for something else between two steps, and chance, put back as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    """While this is open `model` may be put into another mode, its adapter switched off, and random
    numbers drawn; afterwards the next step is the one that it would have been without.

    Weights are not kept: nothing that only reads them changes them.
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    # Rotary embeddings that stretch put others in their place as sequences grow.
    buffers = [dict(module._buffers) for module in modules]
    longest = [vars(module).get("max_seq_len_cached") for module in modules]
    # Switching an adapter off and on trains all of it again, also what is frozen.
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with chance_as_it_was():
        try:
            yield
        finally:
            for module, mode, held, length in zip(modules, modes, buffers, longest, strict=True):
                module.training = mode
                module._buffers.update(held)
                if length is not None:
                    module.max_seq_len_cached = length
            for parameter, was in trained:
                parameter.requires_grad_(was)


@contextmanager
def chance_as_it_was() -> Iterator[None]:
    """Afterwards every generator of random numbers goes on where it stood."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_cards = torch.cuda.is_available() and torch.cuda.is_initialized()
    cards = torch.cuda.get_rng_state_all() if on_cards else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if on_cards:
            torch.cuda.set_rng_state_all(cards)
