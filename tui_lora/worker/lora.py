"""The adapter: peft's LoraConfig from the spec, its precision, and saving it for good."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import safe_open

from tui_lora.core.errors import UserError
from tui_lora.core.spec import LoraSpec
from tui_lora.store.atomic import sync_folder


def lora_config(spec: LoraSpec) -> LoraConfig:
    """The one place where a LoraConfig is built."""
    targets = spec.target_modules
    return LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=targets
        if isinstance(targets, str) and targets == "all-linear"
        else _names(targets),
        use_rslora=spec.variant == "rslora",
        use_dora=spec.variant == "dora",
        bias="none",
        task_type="CAUSAL_LM",
    )


def _names(targets: str | tuple[str, ...]) -> list[str]:
    return [targets] if isinstance(targets, str) else list(targets)


def check_targets(spec: LoraSpec, model: Any) -> None:
    """Raise UserError when the named targets match no linear layer of `model`, or its head."""
    if spec.target_modules == "all-linear":
        return
    leaves = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    }
    wanted = _names(spec.target_modules)
    if "lm_head" in wanted:
        raise UserError(
            "lm_head cannot be a target: trl computes the loss from its weights directly, so an "
            "adapter on it would never be trained.",
            where="lora.target_modules",
        )
    missing = [name for name in wanted if name.rsplit(".", 1)[-1] not in leaves]
    if missing:
        raise UserError(
            f"this model has no linear layer called {', '.join(missing)}.",
            where="lora.target_modules",
            then=f"It has: {', '.join(sorted(leaves - {'lm_head'}))}.",
        )


def set_adapter_dtype(model: Any, dtype: torch.dtype) -> None:
    """Give every trained parameter `dtype`, in place, so that optimizers keep hold of them.

    DoRA's magnitudes stay float32: their updates are too small for bfloat16 to represent.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            keep = "lora_magnitude_vector" in name
            parameter.data = parameter.data.to(torch.float32 if keep else dtype)


def count_parameters(model: Any) -> tuple[int, int]:
    """Trainable and all parameters; 4-bit weights are counted unpacked, as peft does."""
    trainable, total = model.get_nb_trainable_parameters()
    return int(trainable), int(total)


@dataclass(frozen=True)
class SavedAdapter:
    size_bytes: int
    tensors: int


def save_adapter(model: Any, tokenizer: Any, folder: Path) -> SavedAdapter:
    """Write a plain PEFT adapter with tokenizer and chat template, read it back, put it in place.

    The adapter that stood there before stays until the new one is whole. Raises OSError or
    UserError, and leaves the old one.
    """
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    # Only the adapter is trained, so no embedding is saved, and peft need not ask the Hub.
    model.save_pretrained(beside, safe_serialization=True, save_embedding_layers=False)
    tokenizer.save_pretrained(beside)
    saved = check_adapter(beside)
    for path in beside.iterdir():
        with path.open("rb") as file:
            _sync(file.fileno())
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return saved


def _sync(descriptor: int) -> None:
    import os

    os.fsync(descriptor)


def check_adapter(folder: Path) -> SavedAdapter:
    """Read an adapter's weights back. Raises UserError when something is missing or not finite."""
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file() or not (folder / "adapter_config.json").is_file():
        raise UserError("the adapter was not written.", where=str(folder), exit_code=1)
    tensors = 0
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            tensors += 1
            if not torch.isfinite(file.get_tensor(name)).all():
                raise UserError(
                    f"the adapter holds NaN or infinity (in {name}).",
                    where=str(folder),
                    then="Duplicate the run and lower its learning rate.",
                    exit_code=1,
                )
    if tensors == 0:
        raise UserError("the adapter is empty.", where=str(folder), exit_code=1)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return SavedAdapter(size, tensors)
