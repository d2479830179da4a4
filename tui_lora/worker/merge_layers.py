"""The base's bare structure with an adapter on it: what the weights of a layer become.

Nothing of the base is in memory but the layer at hand. What the adapter adds is computed by peft's
own layers, in float32, so that every variant is added the way that it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora.layer import LoraLayer
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper, TrainableTokensWrapper
from safetensors.torch import load_file

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line
from tui_lora.store.adapter_files import WEIGHTS, check_adapter_files, shapes
from tui_lora.worker.adapter import check_fits
from tui_lora.worker.token_rows import grow, rows_of

ADAPTER = "default"
Tensors = dict[str, torch.Tensor]

_BEGIN_AS_PLAIN = ("gaussian", "eva", "orthogonal", "loftq", "mpt")
_MERGED_HERE = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "ensure_weight_tying",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
    "init_lora_weights",
)
_NO_MATTER = (
    "task_type",
    "peft_type",
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "loftq_config",
    "eva_config",
    "runtime_config",
    "megatron_core",
)


def check_mergeable(folder: Path) -> dict[str, Any]:
    """The adapter's config, where it can be merged. Raises UserError with what cannot be."""
    config = check_adapter_files(folder)
    kind = str(config.get("peft_type", "LORA"))
    if kind != "LORA":
        raise _refused(f"it is a {one_line(kind, max_chars=40)} adapter, and LoRA alone is merged")
    begin = config.get("init_lora_weights", True)
    if isinstance(begin, str) and begin not in _BEGIN_AS_PLAIN:
        raise _refused(
            f"it began with a part of its base ({one_line(begin, max_chars=40)}) and was saved "
            "without turning it into an adapter for the base as it was",
            "Save it with path_initial_model_for_weight_conversion; sessions of ours do so.",
        )
    plain = LoraConfig()
    for name, value in config.items():
        if name in _MERGED_HERE or name in _NO_MATTER or not value:
            continue
        if value != getattr(plain, name, None):
            raise _refused(f"it uses {one_line(name, max_chars=40)}, which is not merged here")
    return config


def _refused(what: str, then: str = "Use the adapter on its base as it is.") -> UserError:
    return UserError(f"this adapter cannot be merged: {what}.", then=then)


class Hollow:
    """A model without weights, with the adapter of `folder` on it. Raises UserError where the two
    do not belong together.

    `names` are the weights that the model has, by the names that they have without an adapter;
    `touched` the paths of the modules whose weights the adapter changes.
    """

    def __init__(self, bare: Any, folder: Path) -> None:
        check_fits(folder, bare)
        self.grown = grow(bare, rows_of(folder))
        self.bare = bare.to(torch.float32)
        self.names = frozenset(bare.state_dict())
        self.ends = self._ends()
        self.tied = self._is_tied()
        config = LoraConfig.from_pretrained(str(folder))
        # How it began is behind it; peft would decompose weights that are not there.
        config.init_lora_weights = False
        config.lora_dropout = 0.0
        config.inference_mode = False
        try:
            model = PeftModel(bare, config, ADAPTER, low_cpu_mem_usage=True)
            _make_real(model)
            # Not from_pretrained: that moves what it has read to where the base is: nowhere.
            set_peft_model_state_dict(model, load_file(folder / WEIGHTS), ADAPTER)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(
                "peft does not load the adapter on this base: "
                f"{one_line(str(error), max_chars=200)}.",
                then="Check that base and adapter belong together.",
            ) from error
        self.model = model.eval()
        self._check_filled(folder)
        self.modules = self._touched()

    def _ends(self) -> tuple[str, str]:
        """The names of the input's and the output's weights; empty where there is none."""
        found = {module: path for path, module in self.bare.named_modules()}
        ends = (self.bare.get_input_embeddings(), self.bare.get_output_embeddings())
        first, last = (f"{found[end]}.weight" if end is not None else "" for end in ends)
        return first, last

    def _is_tied(self) -> bool:
        output = self.bare.get_output_embeddings()
        return output is not None and output.weight is self.bare.get_input_embeddings().weight

    def _check_filled(self, folder: Path) -> None:
        """Every tensor of the file has its place, and every place its tensor."""
        loaded = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        given = shapes(folder)
        empty = sorted(
            name for name, tensor in loaded.items() if tensor.is_meta or bool(tensor.isnan().any())
        )
        if empty or len(loaded) != len(given):
            what = (
                f"{clean(empty[0])} is not in its file, or holds no numbers"
                if empty
                else f"its file holds {len(given):,} tensors, and {len(loaded):,} have a place"
            )
            raise UserError(
                f"the adapter does not fit this base: {what}.",
                then="Merge it into the base that it was trained on.",
            )

    def _touched(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, module in self.bare.named_modules():
            inside = any(f"{path}.".startswith(f"{outer}.") for outer in found)
            if inside or not path:
                continue
            own = module.parameters(recurse=False)
            wraps = isinstance(module, LoraLayer | AuxiliaryTrainingWrapper)
            if wraps or any(not parameter.is_meta for parameter in own):
                found[path] = module
        return found

    def own_modules(self) -> list[str]:
        """Touched modules that need nothing of the base's files: trained whole, or an output that
        shares the input's weights."""
        output = self.ends[1].rpartition(".")[0]
        whole = [
            path for path, one in self.modules.items() if isinstance(one, ModulesToSaveWrapper)
        ]
        return [*whole, output] if self.tied else whole

    def with_room(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Embeddings with rows for the adapter's new tokens, the mean of those before them."""
        if name not in self.ends or len(weight) >= self.grown.stop:
            return weight
        mean = weight.mean(0, keepdim=True)
        return torch.cat([weight, mean.expand(self.grown.stop - len(weight), -1)])

    def module_of(self, name: str) -> str:
        """The path of the touched module that a weight belongs to; empty where none does."""
        path = name.rpartition(".")[0]
        while path and path not in self.modules:
            path = path.rpartition(".")[0]
        return path

    @contextmanager
    def holding(self, path: str, weights: Tensors) -> Iterator[Any]:
        """The touched module at `path` with the base's `weights` (by the rest of their names), for
        as long as this lasts. Yields the layer that holds them."""
        layer = _core(self.modules[path])
        before = dict(layer._parameters)
        try:
            for leaf, tensor in weights.items():
                mine = layer._parameters.get(leaf)
                if mine is not None and mine.is_meta:
                    layer._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
            yield layer
        finally:
            layer._parameters.update(before)

    def merged(self, path: str, weights: Tensors) -> Tensors:
        """What the weights of the touched module at `path` become. `weights` are float32, and may
        be used up."""
        module = self.modules[path]
        if isinstance(module, ModulesToSaveWrapper):
            own = module.modules_to_save[ADAPTER].state_dict()
            return {leaf: own.get(leaf, tensor).clone() for leaf, tensor in weights.items()}
        with torch.no_grad(), self.holding(path, weights) as layer:
            if isinstance(module, TrainableTokensWrapper):
                rows = module.token_adapter.get_merged_weights([ADAPTER])
                return {"weight": rows.detach()}
            for lora in _loras(module):
                lora.merge(adapter_names=[ADAPTER])
                lora.merged_adapters.clear()
            found = {leaf: layer._parameters[leaf].detach() for leaf in weights}
        return found


def _make_real(model: Any) -> None:
    """Give what the adapter brings along a place in memory, in float32; no number stands there."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                empty = torch.full(parameter.shape, torch.nan, dtype=torch.float32)
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=False)


def _core(module: Any) -> Any:
    """The layer of the base in what peft has put around it."""
    if isinstance(module, TrainableTokensWrapper):
        return module.token_adapter.base_layer
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


def _loras(module: Any) -> Iterator[Any]:
    """Stacks of experts' weights in one layer lie in each other."""
    while isinstance(module, LoraLayer):
        yield module
        module = module.base_layer
