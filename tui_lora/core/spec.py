"""The run spec: everything that defines a fine-tune, as one typed, frozen object.

Each setting carries its label, its sentence of help, its unit, its range and the library argument
that it becomes. The form, `--set`, the README's table and `?` are all made from here (`fields.py`);
tests hold the named arguments against the installed libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from tui_lora.core.dataset_spec import DatasetSpec as DatasetSpec
from tui_lora.core.errors import Problem, SpecError
from tui_lora.core.experimental_spec import ExperimentalSpec as ExperimentalSpec
from tui_lora.core.guards_spec import GuardsSpec, HooksSpec
from tui_lora.core.lora_spec import LoraSpec as LoraSpec
from tui_lora.core.peek_spec import PeekSpec as PeekSpec
from tui_lora.core.quantization_spec import QuantizationSpec as QuantizationSpec
from tui_lora.core.section import Section, setting
from tui_lora.core.spec_problems import in_our_words
from tui_lora.core.training_spec import TrainingSpec as TrainingSpec

USUAL_RATES = {"sft": 2e-4, "classification": 2e-4, "dpo": 1e-5, "kto": 1e-5}
"""Learning rates for LoRA by task; preferences want small steps, or answers fall apart."""

HIGH_FOR_PREFERENCES = 5e-5

SHORT = {"model": "id", "dataset": "path"}
"""`model: PATH` and `dataset: PATH` stand for these fields."""


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
    attention: Literal[
        "auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "kernels"
    ] = setting(
        "auto",
        "attention",
        "How attention is computed. auto: flash attention where its package is installed and the "
        "card takes it, else sdpa (PyTorch's fused kernels), or eager where the model has no sdpa. "
        "kernels: flash attention 2 as built for the kernels package, fetched from the Hub once.",
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
    trust_remote_code: str | None = setting(
        None,
        "trusted code",
        "The fingerprint of Python code that comes with the model and that you have read: exactly "
        "that code may run on this machine, with all your rights. The Model screen shows it and "
        "sets this. Empty: no code of a model is ever run.",
        argument="AutoModelForCausalLM.from_pretrained(trust_remote_code)",
        min_length=1,
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
        "End the run after so many evaluations without a better result. Empty: never.",
        unit="evaluations",
        ge=1,
    )
    stop_by: Literal["loss", "macro_f1"] = setting(
        "loss",
        "better means",
        "What early stopping goes by: the eval loss, or for classification macro_f1 (the mean of "
        "the labels' F1).",
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
    on_oom: Literal["stop", "retry"] = setting(
        "stop",
        "out of memory",
        "What happens when memory runs out. stop: the run ends and says where the memory went. "
        "retry: it goes on from its last checkpoint with half the micro-batch and twice the "
        "accumulation, so that a step keeps its rows; three times at most.",
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
    peek: PeekSpec = PeekSpec()
    hardware: HardwareSpec = HardwareSpec()
    guards: GuardsSpec = GuardsSpec()
    hooks: HooksSpec = HooksSpec()
    experimental: ExperimentalSpec = ExperimentalSpec()

    @property
    def learning_rate(self) -> float:
        """The rate that is trained with: as set, else the usual one of the task."""
        return self.training.learning_rate or USUAL_RATES[self.task]


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
