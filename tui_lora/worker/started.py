"""An adapter that is trained on: looked at before anything is loaded, then put into a new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.spec import LoraSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store.paths import expanded
from tui_lora.worker.adapter import check_adapter_files, shapes

_ITS_OWN = (
    "r",
    "lora_alpha",
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "modules_to_save",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
)
"""What an adapter brings along: without these its weights fit nothing."""

_NO_MATTER = (
    "task_type",
    "peft_type",
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "lora_dropout",
    "init_lora_weights",
    "loftq_config",
    "eva_config",
    "runtime_config",
    "megatron_core",
)

_OF_CHANGED_BASES = ("pissa", "olora", "corda", "lora_ga")


def start_arguments(folder: Path) -> dict[str, Any]:
    """LoraConfig's arguments of the adapter in `folder`. Raises UserError when it is none that can
    be trained on."""
    try:
        found = check_adapter_files(folder)
    except UserError as error:
        raise UserError(error.what, where="lora.start_from", then=error.then) from None
    shown = clean(str(folder))
    if found.get("peft_type") != "LORA":
        raise _refused(f"{shown} is no LoRA adapter but {one_line(str(found.get('peft_type')))}.")
    if found.get("task_type") == "SEQ_CLS":
        raise _refused(f"{shown} sorts texts into labels, and its labels cannot be added to.")
    begins = str(found.get("init_lora_weights")).lower()
    if begins.startswith(_OF_CHANGED_BASES):
        raise _refused(
            f"{shown} was not converted after {one_line(begins, max_chars=20)} training, so it "
            "belongs to a base that was changed with it.",
            then="Save it with peft's path_initial_model_for_weight_conversion.",
        )
    plain = LoraConfig()
    for name, value in found.items():
        if name in _ITS_OWN or name in _NO_MATTER or not value:
            continue
        if value != getattr(plain, name, None):
            raise _refused(f"{shown} uses {one_line(name, max_chars=40)}, which is not known here.")
    try:
        json.dumps(arguments := {name: found[name] for name in _ITS_OWN if name in found})
        LoraConfig(**arguments)
    except (TypeError, ValueError) as error:
        raise _refused(
            f"{shown}/adapter_config.json is damaged: {one_line(str(error), max_chars=120)}."
        ) from None
    return arguments


def start_choices(spec: LoraSpec, arguments: dict[str, Any]) -> list[Choice]:
    """What of `spec` gives way to the adapter that it starts from."""
    variant = "rslora" if arguments.get("use_rslora") else spec.variant
    if arguments.get("use_dora"):
        variant = "dora"
    targets = arguments.get("target_modules")
    kept = {
        "lora.r": str(arguments.get("r")),
        "lora.alpha": f"{float(arguments.get('lora_alpha') or 0):g}",
        "lora.target_modules": targets
        if isinstance(targets, str)
        else ", ".join(sorted(targets or ())),
        "lora.variant": variant,
    }
    return [
        Choice(setting=name, value=clean(value), reason="that of the adapter that it starts from")
        for name, value in kept.items()
    ]


def start_folder(start_from: str) -> Path:
    """The folder that a spec names."""
    return expanded(start_from).absolute()


def check_start(folder: Path, attached: Any) -> None:
    """Compare the file's tensors with what peft would train. Raises UserError."""
    from peft import get_peft_model_state_dict

    expected = {
        name: tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(attached, save_embedding_layers=False).items()
    }
    given = shapes(folder)
    wrong = [name for name in expected if given.get(name) != expected[name]]
    if wrong or len(given) != len(expected):
        first = clean(min(wrong or set(given) - set(expected)).removeprefix("base_model.model."))
        raise _refused(
            f"the adapter in {clean(str(folder))} does not fit this base: {first} is "
            f"{_size(given.get(min(wrong)) if wrong else None)} there.",
            then="Choose the model that it was trained on.",
        )


def put_in(model: Any, folder: Path) -> None:
    """Give the adapter of `model` the weights in `folder`, in the precision that it has."""
    weights = load_file(folder / "adapter_model.safetensors")
    set_peft_model_state_dict(model, weights)


def _size(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(f"{size:,}" for size in shape)


def _refused(what: str, then: str = "Choose another adapter, or leave it empty.") -> UserError:
    return UserError(what, where="lora.start_from", then=then)
