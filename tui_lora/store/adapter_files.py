"""The files of a PEFT adapter: whether they are there and safe to load, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tui_lora.core.adapter_layers import PREFIX as PREFIX
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.inside import check_inside
from tui_lora.store.json_file import read_object
from tui_lora.store.weights import BadWeights, read_safetensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check_adapter_files(folder: Path) -> dict[str, Any]:
    """The adapter's config, when `folder` is one that is safe to load. Raises UserError."""
    shown = clean(str(folder))
    if not folder.is_dir():
        raise UserError(f"there is no folder {shown}.")
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{shown} holds no {CONFIG}, so it is no PEFT adapter.",
            then="Choose the folder that save_pretrained wrote: a session's adapter/.",
        )
    check_inside(folder)
    if not (folder / WEIGHTS).is_file():
        if (folder / "adapter_model.bin").is_file():
            raise UserError(
                f"{shown} has its weights only as adapter_model.bin, a pickle that can run any "
                "code on loading.",
                then="Ask for it as safetensors, or convert it where that is safe.",
            )
        raise UserError(f"{shown} holds no {WEIGHTS}.")
    found = read_object(folder / CONFIG)
    if found is None:
        raise UserError(f"{shown}/{CONFIG} is damaged.")
    return found


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes from the header of the adapter's weights. Raises UserError."""
    try:
        return read_safetensors(folder / WEIGHTS).shapes
    except BadWeights as error:
        raise UserError(
            f"its weights are damaged: {WEIGHTS} {error}.", then="Copy the adapter again."
        ) from None
