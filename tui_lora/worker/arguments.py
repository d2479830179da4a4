"""The one place where trl's SFTConfig is built from the spec, checked against what is installed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.spec import RunSpec


def sft_arguments(
    spec: RunSpec, *, scratch: Path, device: str, dtype: torch.dtype, held_out: bool, resumed: bool
) -> tuple[dict[str, Any], list[Choice]]:
    """SFTConfig's arguments, and what each 'auto' became. `dtype` is the base's."""
    training, evaluation = spec.training, spec.evaluation
    on_card = device != "cpu"
    choices = []

    optimizer: str = training.optimizer
    if optimizer == "auto":
        optimizer = "adamw_torch_fused"
        choices.append(
            Choice(setting="training.optimizer", value=optimizer, reason="the fastest exact AdamW")
        )
    checkpointing = training.gradient_checkpointing
    if checkpointing == "auto":
        checkpointing = on_card
        reason = (
            "saves much of the activations for about a quarter of the speed"
            if on_card
            else "a machine's memory is seldom short for what a CPU can train in time"
        )
        choices.append(
            Choice(
                setting="training.gradient_checkpointing",
                value="yes" if checkpointing else "no",
                reason=reason,
            )
        )
    packing = training.packing
    if packing == "auto":
        packing = False
        choices.append(
            Choice(
                setting="training.packing",
                value="no",
                reason="rows in one sequence stay apart only with flash attention",
            )
        )
    loss_on: str = spec.dataset.loss_on
    if loss_on == "auto":
        loss_on = "completion"
        choices.append(
            Choice(
                setting="dataset.loss_on",
                value=loss_on,
                reason="the answer is what should be learned, not the question",
            )
        )
    arguments: dict[str, Any] = {
        "output_dir": str(scratch),
        "max_steps": training.max_steps or -1,
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.micro_batch,
        "per_device_eval_batch_size": training.micro_batch,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.scheduler,
        "warmup_steps": training.warmup if training.warmup < 1 else int(training.warmup),
        "max_length": training.max_length,
        "packing": bool(packing),
        "eval_packing": False,
        "optim": optimizer,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "gradient_checkpointing": bool(checkpointing),
        "seed": training.seed,
        "data_seed": training.seed,
        "completion_only_loss": loss_on == "completion",
        "logging_steps": evaluation.log_every_steps,
        "logging_first_step": True,
        # A NaN is shown, not replaced by the mean of the losses before it.
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if held_out else "no",
        "eval_steps": evaluation.every_steps if held_out else None,
        "eval_on_start": held_out and not resumed,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_steps": evaluation.save_every_steps,
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": on_card and dtype == torch.bfloat16,
        "fp16": on_card and dtype == torch.float16,
        "use_cpu": not on_card,
        "dataloader_pin_memory": on_card,
    }
    return arguments, choices


def sft_config(arguments: dict[str, Any]) -> SFTConfig:
    """Build it. Raises UserError when the installed trl no longer knows an argument."""
    known = {field.name for field in dataclasses.fields(SFTConfig) if field.init}
    unknown = sorted(arguments.keys() - known)
    if unknown:
        import trl

        raise UserError(
            f"trl {trl.__version__} does not know {', '.join(unknown)}.",
            then="Install the versions of constraints.txt: pip install -c constraints.txt tui-lora",
            exit_code=1,
        )
    return SFTConfig(**arguments)
