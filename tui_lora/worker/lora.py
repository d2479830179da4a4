"""The adapter: peft's LoraConfig from the spec, its precision, and saving it for good."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import safe_open

from tui_lora.core.errors import UserError
from tui_lora.core.formats import Task
from tui_lora.core.lora_spec import parse_layers
from tui_lora.core.spec import LoraSpec
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.atomic import sync_files, sync_folder
from tui_lora.worker.adapter_card import write_card
from tui_lora.worker.four_bit import pack
from tui_lora.worker.model import HEADS
from tui_lora.worker.reference import TRAINED
from tui_lora.worker.variants import Weights, kept_beside

_BEGIN = {"pissa": "pissa_niter_16", "olora": "olora"}
"""What peft calls how these begin; PiSSA with the decomposition that takes seconds, not an hour."""

_KEPT_EXACT = ("lora_magnitude_vector", "modules_to_save", "trainable_tokens")


def lora_config(spec: LoraSpec, *, task: Task = "sft", **settled: Any) -> LoraConfig:
    """The one place where a LoraConfig is built; `settled` arguments stand before the spec's.

    A classifier's head is trained with the adapter: peft sees to it by the task type.
    """
    targets = spec.target_modules
    arguments: dict[str, Any] = {
        "r": spec.r,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "target_modules": list(targets) if isinstance(targets, tuple) else targets,
        "exclude_modules": list(spec.exclude) or None,
        "layers_to_transform": list(parse_layers(spec.layers)) if spec.layers else None,
        "rank_pattern": dict(spec.rank_pattern),
        "alpha_pattern": dict(spec.alpha_pattern),
        "bias": spec.bias,
        "modules_to_save": list(spec.modules_to_save) or None,
        "use_rslora": spec.variant == "rslora",
        "use_dora": spec.variant == "dora",
        "init_lora_weights": _BEGIN.get(spec.variant, True),
        "task_type": "SEQ_CLS" if task == "classification" else "CAUSAL_LM",
    }
    return LoraConfig(**(arguments | settled))


def set_adapter_dtype(model: Any, dtype: torch.dtype) -> None:
    """Give every trained parameter `dtype`, in place, so that optimizers keep hold of them.

    DoRA's magnitudes, a classifier's head and new tokens stay float32: updates of values that do
    not start at zero are too small for bfloat16 to represent.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            keep = any(part in name for part in _KEPT_EXACT)
            parameter.data = parameter.data.to(torch.float32 if keep else dtype)


def not_finite(model: Any) -> str | None:
    """The first trained weight that holds NaN or infinity, by its name; None when none does."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            return str(name)
    return None


def count_parameters(model: Any) -> tuple[int, int]:
    """Trainable and all parameters; 4-bit weights are counted unpacked, as peft does."""
    trainable, total = model.get_nb_trainable_parameters()
    return int(trainable), int(total)


@dataclass(frozen=True)
class SavedAdapter:
    """`size_bytes` is that of its weights, `packed_bytes` of their 4-bit copy, where one was
    written."""

    size_bytes: int
    tensors: int
    packed_bytes: int = 0


def save_adapter(
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    task: Task = "sft",
    labels: tuple[str, ...] = (),
    began: Weights | None = None,
    four_bit: bool = False,
) -> SavedAdapter:
    """Write a plain PEFT adapter with tokenizer and chat template, read it back, put it in place.

    A classifier's comes with its head and its `labels`. One that `began` with a part of the base
    is saved as what it learned since, for the base as it was. `four_bit` puts a packed copy beside
    weights that are rounded already. The adapter that stood there before stays until the new one
    is whole. Raises OSError or UserError, and leaves the old one.
    """
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        return _put_in_place(model, tokenizer, folder, beside, task, labels, began, four_bit)
    finally:
        # On a full disk this is the room in which the run can say why it ended.
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(
    model: Any,
    tokenizer: Any,
    folder: Path,
    beside: Path,
    task: Task,
    labels: tuple[str, ...],
    began: Weights | None,
    four_bit: bool,
) -> SavedAdapter:
    # Only the adapter is trained, so no embedding is saved, and peft need not ask the Hub.
    with kept_beside(began, folder) as start:
        model.save_pretrained(
            beside,
            selected_adapters=[TRAINED],
            safe_serialization=True,
            save_embedding_layers=False,
            path_initial_model_for_weight_conversion=start,
        )
    tokenizer.save_pretrained(beside)
    if labels:
        write_labels(beside, labels)
    packed = pack(beside) if four_bit else 0
    write_card(beside, task, labels)
    saved = check_adapter(beside, labels=len(labels))
    sync_files(beside)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return replace(saved, packed_bytes=packed)


def check_adapter(folder: Path, *, labels: int = 0) -> SavedAdapter:
    """Read an adapter's weights back. Raises UserError when something is missing or not finite,
    the head of a classifier with so many `labels` among it."""
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file() or not (folder / "adapter_config.json").is_file():
        raise UserError("the adapter was not written.", where=str(folder), exit_code=1)
    tensors = 0
    heads = []
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            tensors += 1
            if name.startswith(tuple(f"base_model.model.{head}." for head in HEADS)):
                heads.append(int(file.get_slice(name).get_shape()[0]))
            if not torch.isfinite(file.get_tensor(name)).all():
                raise UserError(
                    f"the adapter holds NaN or infinity (in {name}).",
                    where=str(folder),
                    then="Duplicate the run and lower its learning rate.",
                    exit_code=1,
                )
    if tensors == 0:
        raise UserError("the adapter is empty.", where=str(folder), exit_code=1)
    if labels and labels not in heads:
        raise UserError(
            "the adapter was written without the head that sorts into labels.",
            where=str(folder),
            exit_code=1,
        )
    return SavedAdapter(weights.stat().st_size, tensors)
