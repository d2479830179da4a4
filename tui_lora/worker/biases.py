"""Biases that an adapter trained, which peft loads into the base's own layers for good.

Here the base gets its own back whenever the adapter is not the one that is asked.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer

Values = dict[str, torch.Tensor]


class Biases:
    """Of a base and of each adapter on it; swaps them before the base is asked."""

    def __init__(self, base: Any) -> None:
        self._base = base
        self._own: Values = {}
        self._of: dict[str, Values] = {}
        self._there: str | None = None
        # The first that runs, whether the model is called or generates.
        base.get_input_embeddings().register_forward_pre_hook(lambda *_: self._swap())

    def before_load(self) -> Values:
        """What stands in the base now, its own put back."""
        self._put(None)
        return {
            _plain(name): parameter.detach().clone()
            for name, parameter in self._base.named_parameters()
            if name.endswith(".bias")
        }

    def after_load(self, adapter: str, before: Values) -> None:
        """Keep what `adapter` brought along, and give the base its own back."""
        found = {
            _plain(name): parameter.detach().clone()
            for name, parameter in self._base.named_parameters()
            if name.endswith(".bias")
        }
        changed = {
            name: value
            for name, value in found.items()
            if name in before and not torch.equal(value, before[name])
        }
        self._own.update({name: before[name] for name in changed})
        self._of[adapter] = changed
        self._there = adapter
        self._put(None)

    def forget(self, adapter: str) -> None:
        """Of an adapter that is unloaded."""
        if adapter == self._there:
            self._put(None)
        self._of.pop(adapter, None)

    def _swap(self) -> None:
        layer = next((m for m in self._base.modules() if isinstance(m, LoraLayer)), None)
        active = None if layer is None or layer.disable_adapters else layer.active_adapters[0]
        self._put(active if active in self._of else None)

    def _put(self, adapter: str | None) -> None:
        if adapter == self._there:
            return
        wanted = {**self._own, **self._of.get(adapter or "", {})}
        with torch.no_grad():
            for name, parameter in self._base.named_parameters():
                if (value := wanted.get(_plain(name))) is not None:
                    parameter.copy_(value)
        self._there = adapter


def _plain(name: str) -> str:
    """A parameter's name as it was before peft wrapped its layer."""
    return name.replace(".base_layer.", ".")
