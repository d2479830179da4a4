"""Which settings may change when a run goes on from a checkpoint, and why the others may not.

A checkpoint holds the adapter's weights, the optimizer's state with its learning rate, and how many
steps were taken: from these follows where in the rows the run stands.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tui_lora.core.errors import Problem
from tui_lora.core.fields import get, put, read, setting_at, typed
from tui_lora.core.spec import RunSpec, check_spec
from tui_lora.core.variants import BEGIN_OTHERWISE

Kind = Literal["free", "noted", "fixed"]
"""A checkpoint survives the change; it does, but something is to be known of it; it does not."""


@dataclass(frozen=True)
class Rule:
    """`why`: what is to be known of a change that is noted, or why there can be none."""

    kind: Kind
    why: str = ""


_FREE = Rule("free")
_OTHER_WEIGHTS = Rule("fixed", "the checkpoint holds the weights of another adapter")
_OTHER_BASE = Rule("fixed", "the adapter was trained on this base, and means nothing on another")
_OTHER_ROWS = Rule("fixed", "where the run stands is counted in these rows, in this order")
_OTHER_SCALE = Rule("fixed", "what was learned would count for more or less at once")
_OTHER_SEQUENCES = Rule("fixed", "where the run stands is counted in sequences made with this")
_HELD_OUT = Rule("fixed", "rows that were trained on might be held out from there on")
_OTHER_LOSS = Rule("fixed", "the run would be measured by another loss from there on")
_IN_OPTIMIZER = Rule(
    "fixed", "it stands in the checkpoint, in the optimizer's state, and is taken from there"
)
_OTHER_BITS = Rule(
    "noted", "from there on the base is rounded otherwise than while the adapter was trained"
)
_NEW_SHAPE = Rule("noted", "the learning rate follows its new course from there on")
_OTHER_PENALTY = Rule("noted", "the weights are penalized otherwise from there on")
_NOT_COMPARED = Rule("noted", "held-out losses before and after are not of the same rows")

RULES: Mapping[str, Rule] = {
    "model.id": _OTHER_BASE,
    "model.revision": _OTHER_BASE,
    "model.dtype": _OTHER_BITS,
    "model.attention": _FREE,
    "model.chat_template": Rule("fixed", "what was learned is how turns are written down now"),
    "model.trust_remote_code": _FREE,
    "quantization.scheme": _OTHER_BITS,
    "quantization.double_quant": _OTHER_BITS,
    "quantization.compute_dtype": _OTHER_BITS,
    "quantization.threshold": _OTHER_BITS,
    "quantization.keep": _OTHER_BITS,
    "task": _OTHER_LOSS,
    "dataset.path": _OTHER_ROWS,
    "dataset.subset": _OTHER_ROWS,
    "dataset.split": _OTHER_ROWS,
    "dataset.revision": _OTHER_ROWS,
    "dataset.streaming": _OTHER_ROWS,
    "dataset.format": _OTHER_ROWS,
    "dataset.columns": _OTHER_ROWS,
    "dataset.system": _OTHER_ROWS,
    "dataset.mix": _OTHER_ROWS,
    "dataset.eval_path": _HELD_OUT,
    "dataset.eval_split": _HELD_OUT,
    "dataset.eval_share": _OTHER_ROWS,
    "dataset.eval_rows": _NOT_COMPARED,
    "dataset.max_rows": _OTHER_ROWS,
    "dataset.loss_on": _OTHER_LOSS,
    "dataset.overlap": _OTHER_ROWS,
    "lora.r": _OTHER_WEIGHTS,
    "lora.alpha": _OTHER_SCALE,
    "lora.dropout": _FREE,
    "lora.target_modules": _OTHER_WEIGHTS,
    "lora.exclude": _OTHER_WEIGHTS,
    "lora.layers": _OTHER_WEIGHTS,
    "lora.rank_pattern": _OTHER_WEIGHTS,
    "lora.alpha_pattern": _OTHER_SCALE,
    "lora.bias": _OTHER_WEIGHTS,
    "lora.modules_to_save": _OTHER_WEIGHTS,
    "lora.variant": _OTHER_WEIGHTS,
    "lora.new_tokens": _OTHER_WEIGHTS,
    "lora.plus_ratio": _IN_OPTIMIZER,
    "lora.start_from": Rule("fixed", "what the adapter began with is trained by now"),
    "preference.beta": _OTHER_LOSS,
    "preference.loss": _OTHER_LOSS,
    "preference.desirable_weight": _OTHER_LOSS,
    "preference.undesirable_weight": _OTHER_LOSS,
    "training.epochs": _NEW_SHAPE,
    "training.max_steps": _NEW_SHAPE,
    "training.micro_batch": _FREE,
    "training.accumulation": _FREE,
    "training.learning_rate": _IN_OPTIMIZER,
    "training.scheduler": _NEW_SHAPE,
    "training.warmup": _NEW_SHAPE,
    "training.max_length": Rule("noted", "rows are cut at another length from there on"),
    "training.packing": _OTHER_SEQUENCES,
    "training.optimizer": Rule("fixed", "the checkpoint holds the state of another optimizer"),
    "training.weight_decay": _IN_OPTIMIZER,
    "training.max_grad_norm": _FREE,
    "training.neftune": _FREE,
    "training.gradient_checkpointing": _FREE,
    "training.checkpoint_layers": _FREE,
    "training.seed": _OTHER_ROWS,
    "evaluation.every_steps": _FREE,
    "evaluation.save_every_steps": _FREE,
    "evaluation.log_every_steps": _FREE,
    "evaluation.keep": _FREE,
    "evaluation.early_stopping": _FREE,
    "evaluation.stop_by": _FREE,
    "peek.prompts": _FREE,
    "peek.held_out": _FREE,
    "peek.every_steps": _FREE,
    "peek.max_new_tokens": _FREE,
    "hardware.devices": _FREE,
    "hardware.on_oom": _FREE,
    "guards.nan": _FREE,
    "guards.loss_spike": _FREE,
    "guards.no_gradient": _FREE,
    "guards.plateau": _FREE,
    "guards.overfitting": _FREE,
    "guards.temperature": _FREE,
    "guards.temperature_celsius": _FREE,
    "guards.disk": _FREE,
    "guards.disk_gib": _FREE,
    "guards.wall_clock": _FREE,
    "guards.wall_clock_hours": _FREE,
    "hooks.on_finish": _FREE,
    "experimental.lorentzian": _OTHER_PENALTY,
    "experimental.lorentzian_width": _OTHER_PENALTY,
    "experimental.four_bit_adapter": Rule(
        "fixed", "it is trained for 4 bits from its start, or not at all"
    ),
}
"""Every setting of the spec by its path, taken by itself; `judged` knows what belongs together."""


@dataclass(frozen=True)
class Judged:
    """What stands against some changes, and what is to be known of them (`noted`): by setting and
    why."""

    refused: tuple[Problem, ...] = ()
    noted: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known, each once."""
        return tuple(dict.fromkeys(self.noted.values()))

    @property
    def kind(self) -> Kind:
        return "fixed" if self.refused else "noted" if self.noted else "free"


SETTLED = ("training.packing", "training.gradient_checkpointing", "dataset.format")
"""What may be left to the run, and counts here as what it became."""


def as_it_ran(spec: RunSpec, became: Mapping[str, str]) -> RunSpec:
    """The spec with what each `auto` of those that count here `became`, by setting, in words."""
    data: dict[str, Any] = spec.model_dump(mode="json")
    for path in SETTLED:
        if get(data, path) == "auto" and path in became:
            data = put(data, path, read(path, became[path]))
    return check_spec(data)[0] or spec


def judged(now: RunSpec, changes: Mapping[str, Any]) -> Judged:
    """Whether a checkpoint of a run of `now` survives new values by setting; what stays as it is
    is no change. Raises KeyError for what is no setting."""
    data = now.model_dump(mode="json")
    real = {path: value for path, value in changes.items() if get(data, path) != value}
    refused: dict[str, str] = {}
    noted: dict[str, str] = {}
    for path in real:
        rule = RULES[path]
        if path in _TOGETHER:
            rule = _TOGETHER[path](now, real) or rule
        if rule.kind == "fixed":
            refused[path] = rule.why
        elif rule.kind == "noted":
            noted[path] = rule.why
    problems = tuple(Problem(f"cannot change now: {why}.", path) for path, why in refused.items())
    return Judged(problems, noted)


def as_options(changes: Mapping[str, Any]) -> str:
    """`--set training.micro_batch=1 --set training.accumulation=16`, as a shell takes it."""
    return " ".join(
        f"--set {shlex.quote(f'{path}={typed(setting_at(path), value)}')}"
        for path, value in changes.items()
    )


def _rows_a_step(now: RunSpec, changes: Mapping[str, Any]) -> Rule | None:
    training = now.training
    before = training.micro_batch * training.accumulation
    rows = changes.get("training.micro_batch", training.micro_batch)
    times = changes.get("training.accumulation", training.accumulation)
    if rows * times != before:
        return Rule(
            "fixed",
            f"micro-batch x accumulation have to stay {before:,} rows a step, since where the run "
            "stands is counted in steps",
        )
    if now.task == "kto":
        return Rule("noted", "KTO estimates how far it is from the base by each micro-batch")
    return None


def _length(now: RunSpec, changes: Mapping[str, Any]) -> Rule | None:
    if now.training.packing is True or now.dataset.format == "text":
        # Sequences of packed rows, passages of plain text.
        return _OTHER_SEQUENCES
    tokens = changes["training.max_length"]
    if tokens > now.training.max_length:
        return Rule("noted", f"rows keep up to {tokens:,} tokens from there on")
    return Rule(
        "noted",
        f"rows longer than {tokens:,} tokens lose their end from there on, and the model does not "
        "learn to stop there",
    )


def _bits(now: RunSpec, changes: Mapping[str, Any]) -> Rule | None:
    if now.lora.variant in BEGIN_OTHERWISE:
        return Rule("fixed", f"{now.lora.variant} began from the base as it was rounded")
    return None


_TOGETHER: Mapping[str, Callable[[RunSpec, Mapping[str, Any]], Rule | None]] = {
    "training.micro_batch": _rows_a_step,
    "training.accumulation": _rows_a_step,
    "training.max_length": _length,
    **{path: _bits for path, rule in RULES.items() if rule is _OTHER_BITS},
}
"""Where it depends on other settings or on the value; None: as the setting by itself."""
