"""The one place where the trainers' configs are built from the spec, held against what is
installed before anything is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from trl import DPOConfig, KTOConfig, SFTConfig

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.formats import Shape
from tui_lora.core.schedule_shape import OF_SCHEDULERS
from tui_lora.core.spec import RunSpec
from tui_lora.worker.checkpointing import checkpointing_arguments
from tui_lora.worker.classifier import ClassificationConfig

Arguments = dict[str, Any]

CONFIGS: dict[str, type[TrainingArguments]] = {
    "sft": SFTConfig,
    "classification": ClassificationConfig,
    "dpo": DPOConfig,
    "kto": KTOConfig,
}

_UNPAGED = {"paged_adamw_8bit": "adamw_8bit", "paged_adamw_32bit": "adamw_torch_fused"}


def trainer_config(
    spec: RunSpec,
    *,
    scratch: Path,
    device: str,
    dtype: torch.dtype,
    held_out: bool,
    resumed: bool,
    shape: Shape | None = None,
) -> tuple[TrainingArguments, list[Choice]]:
    """The config for the task's trainer, and what each 'auto' became.

    Packing and checkpointing are taken as they are settled; where they still are auto, as no.
    `dtype` is the base's; `shape` that of the rows, where it is known. Raises UserError.
    """
    arguments, choices = _shared(spec, device)
    own, more = {
        "sft": _of_sft,
        "classification": _of_classification,
        "dpo": _of_dpo,
        "kto": _of_kto,
    }[spec.task](spec, shape)
    on_card = device != "cpu"
    arguments |= own
    arguments |= {
        "output_dir": str(scratch),
        "eval_strategy": "steps" if held_out else "no",
        "eval_steps": spec.evaluation.every_steps if held_out else None,
        "eval_on_start": held_out and not resumed,
        "bf16": on_card and dtype == torch.bfloat16,
        "fp16": on_card and dtype == torch.float16,
        "use_cpu": not on_card,
        "dataloader_pin_memory": on_card,
    }
    return build(CONFIGS[spec.task], arguments), [*choices, *more]


def build(kind: type[TrainingArguments], arguments: Arguments) -> TrainingArguments:
    """Raises UserError when the installed library no longer knows an argument."""
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(arguments.keys() - known)
    if unknown:
        import transformers
        import trl

        raise UserError(
            f"{kind.__name__} of trl {trl.__version__} (transformers {transformers.__version__}) "
            f"does not know {', '.join(unknown)}.",
            then="Install the versions of constraints.txt: pip install -c constraints.txt tui-lora",
            exit_code=1,
        )
    return kind(**arguments)


def _shared(spec: RunSpec, device: str) -> tuple[Arguments, list[Choice]]:
    """What every task has: all of these are transformers' own."""
    training, evaluation = spec.training, spec.evaluation
    choices = []
    optimizer: str = training.optimizer
    if optimizer == "auto":
        optimizer = "adamw_torch_fused"
        choices.append(
            Choice(setting="training.optimizer", value=optimizer, reason="the fastest exact AdamW")
        )
    elif optimizer.startswith("paged_") and device == "cpu":
        optimizer = _UNPAGED[optimizer]
        choices.append(
            Choice(
                setting="training.optimizer",
                value=optimizer,
                reason="pages move between a card and main memory, and here is no card",
            )
        )
    if training.learning_rate is None:
        choices.append(
            Choice(
                setting="training.learning_rate",
                value=f"{spec.learning_rate:g}",
                reason=f"usual for LoRA and {spec.task}",
            )
        )
    arguments = {
        "max_steps": training.max_steps or -1,
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.micro_batch,
        "per_device_eval_batch_size": training.micro_batch,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": training.scheduler,
        "lr_scheduler_kwargs": OF_SCHEDULERS.get(training.scheduler),
        "warmup_steps": training.warmup if training.warmup < 1 else int(training.warmup),
        "max_length": training.max_length,
        "optim": optimizer,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "neftune_noise_alpha": training.neftune or None,
        **checkpointing_arguments(training),
        "seed": training.seed,
        "data_seed": training.seed,
        "logging_steps": evaluation.log_every_steps,
        "logging_first_step": True,
        # A NaN is shown, not replaced by the mean of the losses before it.
        "logging_nan_inf_filter": False,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_steps": evaluation.save_every_steps,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return arguments, choices


def _of_sft(spec: RunSpec, shape: Shape | None) -> tuple[Arguments, list[Choice]]:
    choices = []
    loss_on, asked = "all" if shape == "text" else "completion", spec.dataset.loss_on
    if asked == "auto":
        reason = (
            "plain text has no answer of its own"
            if shape == "text"
            else "the answer is what should be learned, not the question"
        )
        choices.append(Choice(setting="dataset.loss_on", value=loss_on, reason=reason))
    elif shape == "text" and asked != "all":
        raise UserError(
            f"plain text has no {asked} of its own, so all of it is learned.",
            where="dataset.loss_on",
            then="Set it to auto.",
        )
    else:
        loss_on = asked
    arguments = {
        "packing": spec.training.packing is True,
        "eval_packing": False,
        "completion_only_loss": loss_on == "completion",
        "assistant_only_loss": loss_on == "assistant",
    }
    return arguments, choices


def _of_classification(spec: RunSpec, shape: Shape | None) -> tuple[Arguments, list[Choice]]:
    return {}, []


def _of_dpo(spec: RunSpec, shape: Shape | None) -> tuple[Arguments, list[Choice]]:
    preference = spec.preference
    arguments = {
        "beta": preference.beta,
        "loss_type": [preference.loss],
        "precompute_ref_log_probs": False,
    }
    return arguments, _against_the_base(spec)


def _of_kto(spec: RunSpec, shape: Shape | None) -> tuple[Arguments, list[Choice]]:
    preference = spec.preference
    arguments = {
        "beta": preference.beta,
        "desirable_weight": preference.desirable_weight,
        "undesirable_weight": preference.undesirable_weight,
        "precompute_ref_log_probs": False,
    }
    return arguments, _against_the_base(spec)


def _against_the_base(spec: RunSpec) -> list[Choice]:
    choices = []
    if spec.lora.start_from is None:  # else it is the adapter that the run begins with
        choices.append(
            Choice(
                setting="reference model",
                value="the base",
                reason="the adapter is switched off to ask it, so no second copy is in memory",
            )
        )
    if spec.lora.dropout > 0:
        choices.append(
            Choice(
                setting="lora.dropout",
                value="0",
                reason="adapter and base are compared answer by answer, and dropout would blur it",
            )
        )
    return choices
