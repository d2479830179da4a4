"""The run spec: everything that defines a fine-tune, as one typed, frozen object.

Each setting carries its label, its sentence of help, its unit, its range and the library argument
that it becomes. The form, `--set`, the README's table and `?` are all made from here (`fields.py`);
tests hold the named arguments against the installed libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from tui_lora.core.dataset_spec import DatasetSpec as DatasetSpec
from tui_lora.core.errors import Problem, SpecError
from tui_lora.core.section import Section, setting
from tui_lora.core.spec_problems import in_our_words

SHORT = {"model": "id", "dataset": "path"}
"""`model: PATH` and `dataset: PATH` stand for these fields."""

_NAMES = re.compile(r"\s*[\w.]+(\s*,\s*[\w.]+)*[\s,]*")


class ModelSpec(Section):
    id: str = setting(
        ...,
        "model",
        "A folder with config.json and safetensors, a GGUF file, or the id of a model that is "
        "already in the Hugging Face cache or can be fetched.",
        argument="AutoModelForCausalLM.from_pretrained(pretrained_model_name_or_path)",
        min_length=1,
    )
    revision: str | None = setting(
        None,
        "revision",
        "Branch, tag or commit of a Hub model; a commit pins the run to exactly these weights.",
        argument="AutoModelForCausalLM.from_pretrained(revision)",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "dtype",
        "Precision of the base's weights. auto: bfloat16 on cards from sm80 (Ampere), float16 on "
        "older cards, float32 on the CPU.",
        argument="AutoModelForCausalLM.from_pretrained(dtype)",
    )
    attention: Literal["auto", "sdpa", "eager"] = setting(
        "auto",
        "attention",
        "How attention is computed. auto: sdpa (PyTorch's fused kernels), or eager where the model "
        "has no sdpa.",
        argument="AutoModelForCausalLM.from_pretrained(attn_implementation)",
    )
    chat_template: Literal[
        "auto", "chatml", "llama2", "llama3", "mistral", "gemma", "zephyr", "alpaca", "plain"
    ] = setting(
        "auto",
        "chat template",
        "How turns are written down for the model. auto: the tokenizer's own, or zephyr where it "
        "has none. plain: no roles, the prompt and then the answer. It is saved with the adapter.",
        argument="PreTrainedTokenizer.chat_template",
    )


class QuantizationSpec(Section):
    scheme: Literal["none", "int8", "nf4", "fp4"] = setting(
        "none",
        "quantization",
        "How the frozen base is stored: none (16 or 32 bits), int8 (half of 16 bits), nf4 or fp4 "
        "(about a quarter). The adapter itself is never quantized.",
        argument="BitsAndBytesConfig.load_in_4bit, BitsAndBytesConfig.load_in_8bit, "
        "BitsAndBytesConfig.bnb_4bit_quant_type",
    )
    double_quant: bool = setting(
        True,
        "double quant",
        "Quantize the 4-bit scales too: saves about 0.37 bits a weight, costs a little time. Only "
        "for nf4 and fp4.",
        argument="BitsAndBytesConfig.bnb_4bit_use_double_quant",
    )
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "compute dtype",
        "Precision in which 4-bit weights are unpacked and multiplied. auto: the same as dtype.",
        argument="BitsAndBytesConfig.bnb_4bit_compute_dtype",
    )


class LoraSpec(Section):
    r: int = setting(
        16,
        "rank",
        "Width of the bypass: each target of shape out x in gains r x (in + out) weights. 8 to 32 "
        "is usual.",
        argument="LoraConfig.r",
        ge=1,
        le=1024,
    )
    alpha: float = setting(
        32,
        "alpha",
        "Strength of the adapter: its output is scaled by alpha / r. Twice the rank is usual.",
        argument="LoraConfig.lora_alpha",
        gt=0,
        le=4096,
    )
    dropout: float = setting(
        0.05,
        "dropout",
        "Share of the adapter's inputs dropped while training; a little of it slows over-fitting.",
        argument="LoraConfig.lora_dropout",
        ge=0,
        lt=1,
    )
    target_modules: str | tuple[str, ...] = setting(
        "all-linear",
        "targets",
        "Which layers get an adapter: all-linear (every linear layer but the output), or names "
        "such as q_proj, v_proj.",
        argument="LoraConfig.target_modules",
        min_length=1,
    )
    variant: Literal["lora", "rslora", "dora"] = setting(
        "lora",
        "variant",
        "lora; rslora scales by alpha / sqrt(r), steadier at high ranks; dora learns direction and "
        "length apart, slower and often a little better.",
        argument="LoraConfig.use_rslora, LoraConfig.use_dora",
    )

    @field_validator("target_modules")
    @classmethod
    def _text_is_a_list(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        # PEFT takes a lone text for a pattern over whole paths, which a name never matches.
        if isinstance(value, str) and value != "all-linear" and _NAMES.fullmatch(value):
            return tuple(re.findall(r"[\w.]+", value))
        return value


class TrainingSpec(Section):
    epochs: float = setting(
        3,
        "epochs",
        "How often every row is seen. Unused when max steps is set.",
        argument="SFTConfig.num_train_epochs",
        gt=0,
        le=1000,
    )
    max_steps: int | None = setting(
        None,
        "max steps",
        "Stop after so many optimizer steps, whatever the epochs say. Empty: the epochs decide.",
        argument="SFTConfig.max_steps",
        unit="steps",
        ge=1,
    )
    micro_batch: int = setting(
        2,
        "micro-batch",
        "Rows that go through the model at once. The first thing to lower when memory is short.",
        argument="SFTConfig.per_device_train_batch_size",
        unit="rows",
        ge=1,
        le=1024,
    )
    accumulation: int = setting(
        8,
        "accumulation",
        "Micro-batches summed before a step: micro-batch x accumulation rows make one step, at the "
        "memory of one micro-batch.",
        argument="SFTConfig.gradient_accumulation_steps",
        ge=1,
        le=4096,
    )
    learning_rate: float = setting(
        2e-4,
        "learning rate",
        "Size of a step. 1e-4 to 3e-4 is usual for LoRA; about ten times that of full fine-tuning.",
        argument="SFTConfig.learning_rate",
        gt=0,
        le=1,
    )
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = setting(
        "cosine",
        "scheduler",
        "How the learning rate falls over the run.",
        argument="SFTConfig.lr_scheduler_type",
    )
    warmup: float = setting(
        0.03,
        "warm-up",
        "The rate climbs from 0 at the start: below 1 a share of all steps, from 1 on a number of "
        "steps.",
        argument="SFTConfig.warmup_steps",
        ge=0,
    )
    max_length: int = setting(
        1024,
        "max length",
        "Longest row; what goes beyond is cut off at the end. Memory grows with it.",
        argument="SFTConfig.max_length",
        unit="tokens",
        ge=8,
        le=1_048_576,
    )
    packing: Literal["auto"] | bool = setting(
        "auto",
        "packing",
        "Put several short rows into one sequence, so that no padding is computed. auto: off, "
        "since rows stay apart only with flash attention.",
        argument="SFTConfig.packing",
    )
    optimizer: Literal["auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit"] = setting(
        "auto",
        "optimizer",
        "auto: adamw_torch_fused, the fastest exact AdamW. adamw_8bit keeps its two states in 8 "
        "bits, which saves little for an adapter.",
        argument="SFTConfig.optim",
    )
    weight_decay: float = setting(
        0.0,
        "weight decay",
        "Pulls the adapter's weights towards 0 each step.",
        argument="SFTConfig.weight_decay",
        ge=0,
        le=1,
    )
    max_grad_norm: float = setting(
        1.0,
        "gradient clip",
        "Gradients longer than this are shortened to it; 0 leaves them alone.",
        argument="SFTConfig.max_grad_norm",
        ge=0,
    )
    gradient_checkpointing: Literal["auto"] | bool = setting(
        "auto",
        "checkpointing",
        "Forget activations and compute them again on the way back: much less memory, about a "
        "quarter slower. auto: on with a GPU, off on the CPU.",
        argument="SFTConfig.gradient_checkpointing",
    )
    seed: int = setting(
        42,
        "seed",
        "Fixes the order of the rows, the adapter's start and dropout.",
        argument="SFTConfig.seed",
        ge=0,
        lt=2**32,
    )


class EvaluationSpec(Section):
    every_steps: int = setting(
        100,
        "evaluate every",
        "Measure the loss on the held-out rows each so many steps (and before the first and after "
        "the last).",
        argument="SFTConfig.eval_steps",
        unit="steps",
        ge=1,
    )
    save_every_steps: int = setting(
        100,
        "checkpoint every",
        "Save a checkpoint each so many steps; a run resumes from the last one.",
        argument="SFTConfig.save_steps",
        unit="steps",
        ge=1,
    )
    log_every_steps: int = setting(
        1,
        "log every",
        "Report loss, rate and gradient norm each so many steps.",
        argument="SFTConfig.logging_steps",
        unit="steps",
        ge=1,
    )
    keep: int = setting(
        3,
        "checkpoints kept",
        "Older checkpoints are deleted once a newer one is whole.",
        unit="checkpoints",
        ge=1,
        le=1000,
    )
    early_stopping: int | None = setting(
        None,
        "early stopping",
        "End the run after so many evaluations without a better eval loss. Empty: never.",
        unit="evaluations",
        ge=1,
    )


class PreferenceSpec(Section):
    beta: float = setting(
        0.1,
        "beta",
        "How far the adapter may leave the base when it learns preferences: larger stays nearer.",
        argument="DPOConfig.beta, KTOConfig.beta",
        gt=0,
        le=10,
    )
    loss: Literal["sigmoid", "ipo", "hinge"] = setting(
        "sigmoid",
        "DPO loss",
        "sigmoid is DPO as published; ipo overfits less on few pairs; hinge is SLiC's.",
        argument="DPOConfig.loss_type",
    )
    desirable_weight: float = setting(
        1.0,
        "good weight",
        "KTO: weight of the rows marked good; raise it where they are few.",
        argument="KTOConfig.desirable_weight",
        gt=0,
        le=100,
    )
    undesirable_weight: float = setting(
        1.0,
        "bad weight",
        "KTO: weight of the rows marked bad; raise it where they are few.",
        argument="KTOConfig.undesirable_weight",
        gt=0,
        le=100,
    )


class HardwareSpec(Section):
    # `devices: 0` is a number to YAML.
    model_config = ConfigDict(coerce_numbers_to_str=True)

    devices: str = setting(
        "auto",
        "device",
        "auto: the first card, or the CPU where there is none. cpu, or a card's index or UUID.",
        argument="CUDA_VISIBLE_DEVICES",
        min_length=1,
    )
    on_oom: Literal["stop"] = setting(
        "stop", "out of memory", "What happens when memory runs out: stop, and say where it went."
    )


class RunSpec(Section):
    """Everything that defines a fine-tune. Only the model and the dataset have no default."""

    version: Literal[1] = Field(1, title="version", description="Of this file's form.")
    model: ModelSpec
    quantization: QuantizationSpec = QuantizationSpec()
    task: Literal["sft", "classification", "dpo", "kto"] = setting(
        "sft",
        "task",
        "What is learned: sft (answers, or text to carry on), classification (a label for a "
        "text), dpo (to prefer chosen answers to rejected ones) or kto (answers marked good or "
        "bad).",
    )
    dataset: DatasetSpec
    lora: LoraSpec = LoraSpec()
    preference: PreferenceSpec = PreferenceSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    hardware: HardwareSpec = HardwareSpec()


def check_spec(data: Mapping[str, Any]) -> tuple[RunSpec | None, tuple[Problem, ...]]:
    """The spec and every problem with it. The spec is None when its own types do not hold.

    Checks types, ranges and unknown keys first, and, when those hold, the rules across fields.
    """
    from tui_lora.core.rules import broken_rules

    try:
        spec = RunSpec.model_validate(_shorthand(data))
    except ValidationError as error:
        return None, in_our_words(error, RunSpec)
    return spec, broken_rules(spec)


def parse_spec(data: Mapping[str, Any], *, where: str = "") -> RunSpec:
    """The run spec in `data`; raises `SpecError` with every problem at once."""
    spec, problems = check_spec(data)
    if problems or spec is None:
        raise SpecError(problems, where=where)
    return spec


def _shorthand(data: Mapping[str, Any]) -> dict[str, Any]:
    full = dict(data)
    for section, field in SHORT.items():
        if isinstance(full.get(section), str):
            full[section] = {field: full[section]}
    return full
