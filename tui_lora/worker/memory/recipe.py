"""What a run does that its memory depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from peft import LoraConfig
from transformers import PreTrainedConfig

from tui_lora.core.formats import Task

Kernel = Literal["eager", "flash", "efficient", "math"]
"""What computes attention: eager is transformers' own code, the others are PyTorch's fused kernels,
which are not the same on every card."""


Loading = Literal["placed", "stored", "moved"]
"""placed: transformers puts the weights on the card one by one, and quantizes them there. stored:
the same, and their files are quantized already. moved: they come whole from main memory."""


@dataclass(frozen=True)
class Recipe:
    """`config` is the model's, `lora` None for full fine-tuning. `dtype` is that of the base's
    weights, `adapter_dtype` that of what is trained. `variant` is the adapter's (core/variants.py).

    `fused_loss`: trl's head, which never builds the logits; else transformers' loss. `fp32_rest`:
    what is not quantized was made float32 (peft's prepare_model_for_kbit_training). `autocast`:
    the forward pass runs under it. `keep` names modules that are not quantized, `threshold` is
    int8's for outliers. `labels`: of a classifier. `rows`: of the embeddings, where they grow.
    `held_against`: what preferences are measured against, the base or a copy of the adapter.
    `uneven`: what is done to a layer goes by its number, so that all of them have to be run.
    `packed`: the rows of a micro-batch stand in one sequence. `evaluates`: held-out rows go through
    it too. `accumulates`: a step has several micro-batches, and all but its first come on top of
    the gradients of those before.
    `loading`: how the weights come to the card. `empties_cache`: preparing with `fp32_rest` ends so
    (peft since its pull request 3293). `holds_output`: the loop that trains holds a step's logits
    during the next.
    """

    config: PreTrainedConfig
    lora: LoraConfig | None
    dtype: torch.dtype
    adapter_dtype: torch.dtype
    task: Task = "sft"
    variant: str = "lora"
    scheme: str = "none"
    double_quant: bool = True
    compute_dtype: torch.dtype | None = None
    threshold: float = 6.0
    keep: tuple[str, ...] = ()
    kernel: Kernel = "flash"
    checkpointing: bool = True
    every_layers: int = 1
    selective: bool = False
    optimizer: str = "adamw_torch_fused"
    fused_loss: bool = True
    fp32_rest: bool = False
    autocast: bool = True
    labels: int = 2
    rows: int | None = None
    held_against: Literal["base", "copy"] = "base"
    uneven: bool = False
    loading: Loading = "placed"
    empties_cache: bool = True
    holds_output: bool = False
    packed: bool = False
    evaluates: bool = False
    accumulates: bool = False
