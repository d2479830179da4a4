"""Layers that an adapter is merged into as quantization rounded them, and not as the files hold
them: where it began with what was rounded away, that is what it was trained beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft.tuners.lora.layer import LoraLayer
from transformers import PreTrainedConfig
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from tui_lora.core.errors import UserError
from tui_lora.core.export import Merge
from tui_lora.core.spec import ModelSpec
from tui_lora.worker.merge_layers import Hollow, Tensors
from tui_lora.worker.model import HEADS
from tui_lora.worker.quantization import is_packable, stored
from tui_lora.worker.skeleton import skeleton


@dataclass(frozen=True)
class Rounded:
    """The `paths` of such layers; `scheme` is nf4 or fp4."""

    scheme: str = ""
    double_quant: bool = False
    paths: frozenset[str] = frozenset()

    def weight(self, path: str, weight: torch.Tensor) -> torch.Tensor:
        """The weight of the layer at `path` as the adapter learned beside it, float32."""
        if path not in self.paths:
            return weight
        packed, state = quantize_4bit(
            weight.float().contiguous(),
            compress_statistics=self.double_quant,
            quant_type=self.scheme,
        )
        found: torch.Tensor = dequantize_4bit(packed, state)
        return found.float()

    def weights(self, weights: Tensors) -> Tensors:
        """The same of weights by their names."""
        return {
            name: self.weight(name.removesuffix(".weight"), tensor)
            for name, tensor in weights.items()
        }

    def put_in(self, model: Any) -> None:
        """Into a whole model in 16 bits that wears the adapter."""
        with torch.no_grad():
            for path in self.paths:
                weight = model.get_base_model().get_submodule(path).get_base_layer().weight
                weight.copy_(self.weight(path, weight).to(weight.dtype))


def rounded_layers(
    asked: Merge, config: PreTrainedConfig, hollow: Hollow, *, classifies: bool
) -> Rounded:
    """Of an adapter that began with what its base's storage rounded away. Raises UserError where
    nobody wrote down how the base was stored."""
    how = asked.quantization
    if how.scheme not in ("nf4", "fp4"):
        raise UserError(
            "this adapter cannot be merged: it began with what quantization rounded away (loftq), "
            "and how its base was quantized is not known here.",
            then="Name the session that trained it; without one, use it on its quantized base.",
        )
    model = ModelSpec(id=asked.model, revision=asked.revision)
    whole = HEADS if classifies else ()
    made = stored(how, config, model, torch.float32, whole=whole).config
    assert made is not None
    task = "classification" if classifies else "sft"
    kept = made.llm_int8_skip_modules or get_keys_to_not_convert(skeleton(config, task, model))
    paths = {
        path
        for path, module in hollow.modules.items()
        if isinstance(module, LoraLayer)
        and is_packable(module.get_base_layer())
        and should_convert_module(path, kept)
    }
    return Rounded(how.scheme, how.double_quant, frozenset(paths))
