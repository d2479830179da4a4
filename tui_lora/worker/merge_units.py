"""The weights of a base as its files hold them, in portions that can be merged one by one.

A file may name and cut weights otherwise than the model does (a mixture's experts lie apart in the
files and in one stack in the model); transformers' own rules lead there and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.model_weights import shard_files
from tui_lora.store.weights import BadWeights, read_safetensors
from tui_lora.worker.merge_layers import Hollow, Tensors

FLOATING = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number by safetensors' name of its type; what is none of these stays as it is."""


class Files:
    """The tensors in a folder's safetensors, read one at a time. Raises UserError.

    Not mapped into memory: what was read of a mapped file would count as this process's.
    """

    def __init__(self, folder: Path) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._place: dict[str, Path] = {}
        shards = shard_files(folder)
        if not shards:
            raise UserError(f"{clean(str(folder))} has no weights as safetensors.")
        for path in shards:
            try:
                one = read_safetensors(path)
            except BadWeights as error:
                raise UserError(f"{clean(str(path))} {error}.", then="Copy it again.") from None
            self.shapes.update(one.shapes)
            self.dtypes.update(one.dtypes)
            self._place.update(dict.fromkeys(one.shapes, path))

    @property
    def names(self) -> list[str]:
        return list(self._place)

    def tensor(self, name: str) -> torch.Tensor:
        with safe_open(self._place[name], framework="pt", backend="pread") as file:
            return file.get_tensor(name)


@dataclass(frozen=True)
class Group:
    """Tensors of the files (`sources`) that are these `targets` of the model, by `pattern` of a
    conversion where they are not the same but for their name."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pattern: str | None = None


@dataclass(frozen=True)
class Unit:
    """Groups that are merged together; `paths` are the touched modules that they belong to. One
    without any is copied."""

    groups: tuple[Group, ...]
    paths: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group.sources)


class Units:
    """How the weights in `names` (of the base's files) belong to the model of `hollow`.

    `without_place` are those that the model does not have. Raises UserError where a layer that the
    adapter changes is not in the files.
    """

    def __init__(self, hollow: Hollow, names: list[str]) -> None:
        self._hollow = hollow
        bare = hollow.bare
        mapping = get_model_conversion_mapping(bare)
        self._renamings = [one for one in mapping if isinstance(one, WeightRenaming)]
        converters = [one for one in mapping if isinstance(one, WeightConverter)]
        self._converters = {pattern: one for one in converters for pattern in one.source_patterns}
        self.without_place: list[str] = []
        groups = list(self._groups(names, converters))
        bare._weight_conversions = [one for one in mapping if one.was_used()]
        self.units = self._joined(groups)
        self._check(groups)

    def _groups(self, names: list[str], converters: list[WeightConverter]) -> Iterator[Group]:
        hollow, bare = self._hollow, self._hollow.bare
        known = dict.fromkeys(hollow.names, True)
        converted: dict[str, tuple[str, list[str]]] = {}
        for name in sorted(names, key=dot_natural_key):
            prefix = bare.base_model_prefix
            target, pattern = rename_source_key(name, self._renamings, converters, prefix, known)
            if target not in known and name in known:
                target, pattern = rename_source_key(name, [], [], prefix, known)
            if target not in known:
                self.without_place.append(name)
            elif pattern is None:
                yield Group((name,), (target,))
            else:
                converted.setdefault(target, (pattern, []))[1].append(name)
        for target, (pattern, sources) in converted.items():
            first, *others = self._converters[pattern].target_patterns
            targets = (target, *(target.replace(first, other) for other in others))
            yield Group(tuple(sources), targets, pattern)

    def _joined(self, groups: list[Group]) -> list[Unit]:
        """What belongs to the same touched modules is one unit."""
        units: list[Unit] = []
        for group in groups:
            paths = {self._hollow.module_of(target) for target in group.targets} - {""}
            mine = Unit((group,), tuple(sorted(paths)))
            for other in [unit for unit in units if paths & set(unit.paths)]:
                units.remove(other)
                both = tuple(sorted({*other.paths, *mine.paths}))
                mine = Unit((*other.groups, *mine.groups), both)
            units.append(mine)
        return units

    def _check(self, groups: list[Group]) -> None:
        there = {path for unit in self.units for path in unit.paths}
        lacking = sorted(set(self._hollow.modules) - there - set(self._hollow.own_modules()))
        if lacking:
            raise UserError(
                f"the base's files do not hold {clean(lacking[0])}, which the adapter changes.",
                then="Copy the base again, all files together.",
            )

    def load(self, unit: Unit, files: Files) -> Tensors:
        """The unit's weights by the model's names, float32."""
        found: Tensors = {}
        for group in unit.groups:
            if group.pattern is None:
                found[group.targets[0]] = files.tensor(group.sources[0]).float()
                continue
            conversion = deepcopy(self._converters[group.pattern])
            for name in group.sources:
                target, pattern = rename_source_key(
                    name,
                    self._renamings,
                    [self._converters[group.pattern]],
                    self._hollow.bare.base_model_prefix,
                    dict.fromkeys(self._hollow.names, True),
                )
                conversion.add_tensor(target, name, pattern, files.tensor(name).float())
            made = conversion.convert(
                group.targets[0], model=self._hollow.bare, config=self._hollow.bare.config
            )
            for name, tensor in made.items():
                found[name] = tensor[0] if isinstance(tensor, list) else tensor
        return found

    def back(self, unit: Unit, weights: Tensors) -> Tensors:
        """Weights by the model's names as the files name and cut them. Raises UserError where
        transformers' rules do not lead back."""
        found: Tensors = {}
        for group in unit.groups:
            mine = {name: weights[name] for name in group.targets}
            if group.pattern is None:
                found[group.sources[0]] = mine[group.targets[0]]
                continue
            made = dict(revert_weight_conversion(self._hollow.bare, mine))
            if made.keys() != set(group.sources):
                raise UserError(
                    f"{clean(group.targets[0])} is cut otherwise in the base's files, and nothing "
                    "leads back there.",
                    then="Use the adapter on its base as it is.",
                )
            found.update(made)
        return found

    def merged(self, unit: Unit, weights: Tensors) -> Tensors:
        """What the unit's weights become with the adapter; by the model's names."""
        found = dict(weights)
        for path in unit.paths:
            mine = {
                name.removeprefix(f"{path}."): self._hollow.with_room(name, tensor)
                for name, tensor in weights.items()
                if name.startswith(f"{path}.")
            }
            for leaf, tensor in self._hollow.merged(path, mine).items():
                found[f"{path}.{leaf}"] = tensor
        return found


def kept_whole(bare: Any, name: str) -> bool:
    """Whether the model's class wants a weight in float32 whatever the others are."""
    strict = {*(bare._keep_in_fp32_modules_strict or ()), *(bare._keep_in_fp32_modules or ())}
    return any(part in strict for part in name.split("."))
