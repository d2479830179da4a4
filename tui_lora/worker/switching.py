"""Who speaks through a model with adapters: switched fast, and put to a strength.

peft walks every module and sets what needs gradients at each switch, and looks at every parameter
before it disables adapters: tenths of a second with some adapters on a model of 32 layers. Nothing
is trained here. So peft switches once for each adapter, after loading; what it left in each layer
is kept, and put back when that adapter speaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tui_lora.core.errors import UserError

_KEPT = ("_active_adapter", "_disable_adapters")
"""What a layer of peft's goes by (tuners_utils.BaseTunerLayer, other.AuxiliaryTrainingWrapper)."""

_Layers = list[tuple[Any, tuple[Any, ...]]]

MOST_STRENGTH = 1.5


class Switch:
    """Of one model; `learn` after each adapter that came or went."""

    def __init__(self) -> None:
        self._model: Any = None
        self._states: dict[str | None, _Layers] = {}
        self._now: str | None = None
        self._scaled: dict[str, list[Any]] = {}

    def learn(self, model: Any) -> None:
        """Look how peft sets `model` for each of its adapters, and for none."""
        self._model, self._states, self._scaled = model, {}, {}
        if not hasattr(model, "peft_config"):
            return
        model.base_model.enable_adapter_layers()
        for adapter in model.peft_config:
            model.set_adapter(adapter, inference_mode=True)
            self._states[adapter] = _state(model)
            self._scaled[adapter] = [
                layer for layer, _ in self._states[adapter] if adapter in _scaling(layer)
            ]
        model.base_model.disable_adapter_layers()
        self._states[None] = _state(model)
        self._now = None

    def to(self, adapter: str | None) -> None:
        """Let `adapter` speak, or with None the base."""
        if adapter == self._now or not self._states:
            return
        for layer, values in self._states[adapter]:
            for name, value in zip(_KEPT, values, strict=True):
                setattr(layer, name, value)
        if adapter is not None:
            self._model.active_adapter = self._model.base_model.active_adapter = adapter
        self._now = adapter

    @contextmanager
    def speaking(self, adapter: str | None, strength: float = 1.0) -> Iterator[Any]:
        """The model as it answers with `adapter`, of whose share `strength` is added; its scalings
        are afterwards what they were, to the bit. At 0 it is the base."""
        self.to(adapter if strength != 0 else None)
        if adapter is None or strength in (0, 1):
            yield self._model
            return
        layers = self._scaled[adapter]
        before = [_scaling(layer)[adapter] for layer in layers]
        try:
            for layer, scaling in zip(layers, before, strict=True):
                layer.scaling[adapter] = scaling * strength
            yield self._model
        finally:
            for layer, scaling in zip(layers, before, strict=True):
                layer.scaling[adapter] = scaling


def check_strength(strength: float, fixed: str) -> None:
    """Raise UserError for a strength that an adapter cannot be put to, `fixed` being why."""
    if not 0 <= strength <= MOST_STRENGTH:
        raise UserError(f"a strength of {strength:g} is not between 0 and {MOST_STRENGTH:g}.")
    if fixed and strength not in (0, 1):
        raise UserError(
            f"this adapter cannot be put to {100 * strength:g}%: {fixed}.",
            then="It can be put to 100%, or to 0%, which is the base.",
        )


def why_fixed(model: Any, adapter: str) -> str:
    """Why the share of `adapter` cannot be scaled; empty where it can. `model` is peft's.

    LoRA adds `scaling * B A x` to a layer, so its scaling is multiplied. What takes the place of
    weights instead of being added to them has no such number.
    """
    config = model.peft_config[adapter]
    kind = getattr(config.peft_type, "value", str(config.peft_type))
    if kind != "LORA":
        return f"it is no LoRA but {kind}"
    if config.use_dora:
        return "DoRA sets the length of each weight as well, which takes the place of the base's"
    if config.modules_to_save:
        names = ", ".join(sorted(config.modules_to_save))
        return f"{names} was trained whole, in place of the base's"
    if config.bias != "none":
        return "it trained biases, which take the place of the base's"
    if config.trainable_token_indices:
        return "it has rows of its own for new tokens, which take the place of the base's"
    odd = {
        type(variant).__name__
        for module in model.modules()
        if (variant := getattr(module, "lora_variant", {}).get(adapter)) is not None
    }
    return f"its layers are of a kind of their own ({', '.join(sorted(odd))})" if odd else ""


def _state(model: Any) -> _Layers:
    return [
        (module, tuple(getattr(module, name) for name in _KEPT))
        for module in model.modules()
        if _is_peft_layer(module)
    ]


def _is_peft_layer(module: Any) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    return isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))


def _scaling(layer: Any) -> dict[str, float]:
    found = vars(layer).get("scaling")
    return found if isinstance(found, dict) else {}
