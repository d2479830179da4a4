"""A PEFT adapter from a folder onto a base in memory: looked at first, then attached.

peft changes the base in place before it reads the adapter's weights, only warns of missing ones
and spells mismatches as pages of tensors; so files and shapes are compared with the base before.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line
from tui_lora.store.adapter_files import PREFIX, check_adapter_files, shapes

_IN_THE_PROMPT = (
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE",
    "ADAPTION_PROMPT",
)  # fmt: skip
"""peft's kinds that put something before a prompt and leave the layers as they are."""


def check_fits(folder: Path, base: Any) -> None:
    """Compare the LoRA shapes in the file with the layers of `base`. Raises UserError.

    What is not LoRA (or no linear layer) is left to peft, but for what changes no layer: that
    cannot be switched as layers are.
    """
    kind = check_adapter_files(folder).get("peft_type")
    if kind in _IN_THE_PROMPT:
        raise UserError(f"it is no LoRA but {kind}, which changes the prompt and not the layers.")
    layers = {_plain(name): module for name, module in base.named_modules()}
    wants = "The adapter belongs to another base" + _trained_on(folder)
    then = "Load it on the model that it was trained on."
    for name, shape in shapes(folder).items():
        path, _, part = name.removeprefix(PREFIX).partition(".lora_")
        if part not in ("A.weight", "B.weight") or len(shape) != 2:
            continue
        # Of two stacks of experts' weights in one layer, the inner is called its base.
        path = path.replace(".base_layer", "")
        if path not in layers:
            raise UserError(f"this base has no layer {clean(path)}. {wants}.", then=then)
        size = getattr(layers[path], "in_features" if part[0] == "A" else "out_features", None)
        given = shape[1] if part[0] == "A" else shape[0]
        if size is not None and size != given:
            way = "inputs" if part[0] == "A" else "outputs"
            raise UserError(
                f"its {clean(path)} has {given:,} {way} and this base's has {size:,}. {wants}.",
                then=then,
            )


def attach(model: Any, folder: Path, inner_name: str, device: str) -> Any:
    """`model` with the adapter loaded as `inner_name`; the base itself stays as it was.

    `model` is a base or what an earlier call returned. Raises UserError, and takes back what was
    begun.
    """
    from peft import PeftModel, get_peft_model_state_dict

    from tui_lora.worker.token_rows import make_room_for

    is_first = not isinstance(model, PeftModel)
    base = model if is_first else model.get_base_model()
    make_room_for(folder, base)
    biases = _biases_of(base, folder)
    before = biases.before_load() if biases is not None else {}
    try:
        if is_first:
            model = PeftModel.from_pretrained(
                model, str(folder), adapter_name=inner_name, torch_device=device
            )
        else:
            model.load_adapter(str(folder), adapter_name=inner_name, torch_device=device)
        model.eval()
        loaded = get_peft_model_state_dict(
            model, adapter_name=inner_name, save_embedding_layers=False
        )
        given = len(shapes(folder))
        if len(loaded) > given:
            raise UserError(
                f"it has weights for {given} of the {len(loaded)} places that its own config names "
                f"on this base. The adapter belongs to another base{_trained_on(folder)}.",
                then="Load it on the model that it was trained on.",
            )
        if biases is not None:
            biases.after_load(inner_name, before)
    except Exception as error:
        if is_first:
            _detach(base)
        else:
            with contextlib.suppress(KeyError, ValueError):
                model.delete_adapter(inner_name)
        if isinstance(error, (ValueError, KeyError, TypeError)) or "size mismatch" in str(error):
            raise UserError(
                f"peft does not load it on this base{_trained_on(folder)}: "
                f"{one_line(str(error), max_chars=200)}.",
                then="Check that base and adapter belong together.",
            ) from error
        raise
    return model


def take_off(model: Any, inner_name: str) -> Any:
    """The model without the adapter `inner_name`, of which nothing stays in memory: the base itself
    where it was the last."""
    base = model.get_base_model()
    biases = getattr(base, "_biases_kept", None)
    if biases is not None:
        biases.forget(inner_name)
    if list(model.peft_config) == [inner_name]:
        _detach(base)
        return base
    model.delete_adapter(inner_name)
    return model


def _biases_of(base: Any, folder: Path) -> Any:
    """The base's keeper of biases, where this adapter or an earlier one trained some."""
    from tui_lora.worker.biases import Biases

    keeper = getattr(base, "_biases_kept", None)
    if keeper is None and check_adapter_files(folder).get("bias", "none") != "none":
        keeper = base._biases_kept = Biases(base)
    return keeper


def _detach(base: Any) -> None:
    """Put the plain layers back where a load that failed had wrapped them."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    for name, module in list(base.named_modules()):
        parent, _, leaf = name.rpartition(".")
        if isinstance(module, BaseTunerLayer):
            setattr(base.get_submodule(parent), leaf, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):
            setattr(base.get_submodule(parent), leaf, module.original_module)
    if hasattr(base, "peft_config"):
        del base.peft_config


def _plain(name: str) -> str:
    """A layer's name as it was before peft wrapped it."""
    return name.removesuffix(".base_layer")


def _trained_on(folder: Path) -> str:
    """Names the base that the adapter's config names, for the end of a sentence."""
    named = check_adapter_files(folder).get("base_model_name_or_path")
    return (
        f" (it names {one_line(named, max_chars=80)})" if isinstance(named, str) and named else ""
    )
