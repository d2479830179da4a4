"""A whole model beside the base of a chat: one that an adapter was merged into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store.adapter_files import CONFIG
from tui_lora.store.json_file import read_object
from tui_lora.store.model_weights import read_weights
from tui_lora.store.same_shape import differs

if TYPE_CHECKING:
    from tui_lora.worker.model import Loaded, OnPhase


def check_whole_model(folder: Path, base: Any) -> None:
    """Raise UserError where `folder` holds no model of the shape of `base`, or only pickles."""
    shown = clean(str(folder))
    if not folder.is_dir():
        raise UserError(f"there is no folder {shown}.")
    config = read_object(folder / "config.json")
    if config is None:
        adapter = (folder / CONFIG).is_file()
        raise UserError(
            f"{shown} is an adapter, not a whole model."
            if adapter
            else f"{shown} has no config.json that can be read.",
            then="Load it as an adapter." if adapter else "Choose the folder of a merged model.",
        )
    weights = read_weights(folder, [child.name for child in folder.iterdir()])
    if weights.problem or weights.missing or not weights.files:
        why = weights.problem or weights.missing or "holds no safetensors"
        raise UserError(f"{shown} {one_line(why)}")
    if (how := differs(config, base.config.to_dict())) is not None:
        raise UserError(
            f"it is built otherwise than this base: {how}.",
            then="Open it by itself.",
        )


def load_whole_model(
    folder: Path, base: Loaded, quantization: QuantizationSpec, on_phase: OnPhase
) -> Loaded:
    """The model in `folder` in the precision and the place of `base`. Raises UserError.

    Its own tokenizer where it has one, which must give the base's tokens the same numbers.
    """
    from tui_lora.worker.model import load_model

    check_whole_model(folder, base.model)
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    loaded = load_model(
        ModelSpec(id=str(folder), dtype=str(base.dtype).removeprefix("torch.")),
        quantization,
        devices="cpu" if base.device == "cpu" else "auto",
        tokenizer=None if own else base.tokenizer,
        on_phase=on_phase,
    )
    if not base.tokenizer.get_vocab().items() <= loaded.tokenizer.get_vocab().items():
        raise UserError(
            "its tokenizer gives words other numbers than this base's.", then="Open it by itself."
        )
    return loaded
