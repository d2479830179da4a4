"""Merging: what an adapter learned becomes part of its base's weights, a layer at a time."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from tui_lora.core.errors import UserError
from tui_lora.core.export import Merge
from tui_lora.core.export_text import storage_words
from tui_lora.core.spec import ModelSpec
from tui_lora.core.text import clean, one_line, size
from tui_lora.store.adapter_labels import read_labels
from tui_lora.store.catalog import is_of_hub
from tui_lora.store.hub_snapshots import snapshot_at
from tui_lora.store.json_file import read_object
from tui_lora.store.loftq_adapters import merges_rounded
from tui_lora.store.model_code import own_classes
from tui_lora.store.moved_on import moved_on
from tui_lora.store.quantized import quantized
from tui_lora.worker.loading import Took
from tui_lora.worker.merge_layers import Hollow, Tensors, check_mergeable
from tui_lora.worker.merge_rounded import Rounded, rounded_layers
from tui_lora.worker.merge_units import FLOATING, Files, Unit, Units, kept_whole
from tui_lora.worker.merge_write import Shards, rounded
from tui_lora.worker.model import Loaded, load_config, load_tokenizer, weights_place
from tui_lora.worker.quantization import DTYPES
from tui_lora.worker.skeleton import skeleton


class Progress(Protocol):
    """Hears what is being done, in words, and how much of how much of it."""

    def __call__(
        self, label: str, done: int | None, total: int | None, unit: str = "bytes", /
    ) -> None: ...


SPARE = 1.02
"""What is needed on the disk for each byte of weights: tokenizer and settings come to them."""

_NAMES = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Work:
    """An adapter and the base that it is merged into, found and held against each other; nothing
    but the adapter is in memory."""

    asked: Merge
    base: Path
    adapter: Path
    labels: tuple[str, ...]
    hollow: Hollow
    files: Files
    units: Units
    dtype: torch.dtype
    dtype_reason: str
    rounded: Rounded
    moved: str
    """How the base is not the one that the adapter was trained on."""

    @cached_property
    def spec(self) -> ModelSpec:
        """The base in the precision of the result."""
        named = str(self.dtype).removeprefix("torch.")
        return ModelSpec(id=self.asked.model, revision=self.asked.revision, dtype=named)

    @cached_property
    def tokenizer(self) -> Any:
        """The adapter's, with its template, else the base's."""
        from tui_lora.worker.voices import adapters_tokenizer

        own = load_tokenizer(str(self.base), None)
        near = Loaded(self.hollow.bare, own, "cpu", self.dtype, Took("cpu", None))
        return adapters_tokenizer(self.adapter, near)

    def base_weights(self, unit: Unit) -> Tensors:
        """What the unit's part of the adapter is added to, by the model's names, float32."""
        return self.rounded.weights(self.units.load(unit, self.files))

    def dtype_of(self, name: str) -> torch.dtype | None:
        """What a tensor of the files is stored in; None for one that stays as it is."""
        known = self.files.dtypes[name]
        if known not in FLOATING or kept_whole(self.hollow.bare, name):
            return None
        return self.dtype

    @cached_property
    def output_apart(self) -> bool:
        """Whether the output shares the input's weights in the base, and not any more."""
        first, last = self.hollow.ends
        if not self.hollow.tied or last in {
            n for unit in self.units.units for g in unit.groups for n in g.targets
        }:
            return False
        paths = [name.rpartition(".")[0] for name in (first, last)]
        if not any(path in self.hollow.modules for path in paths):
            return False
        unit = next(u for u in self.units.units if any(first in g.targets for g in u.groups))
        weight = self.units.load(unit, self.files)[first]
        one, other = (self._end(name, weight.clone()) for name in (first, last))
        return not torch.equal(one, other)

    def _end(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """What the weights of input or output become."""
        path = name.rpartition(".")[0]
        weight = self.hollow.with_room(name, weight)
        if path not in self.hollow.modules:
            return weight
        return self.hollow.merged(path, {"weight": weight})["weight"]

    def extra(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights that the base's files do not hold, float32: an output of its own, a head."""
        first, last = self.hollow.ends
        if self.output_apart:
            unit = next(u for u in self.units.units if any(first in g.targets for g in u.groups))
            yield last, self._end(last, self.units.load(unit, self.files)[first])
        known = {n for unit in self.units.units for group in unit.groups for n in group.targets}
        for path in self.hollow.own_modules():
            saved = getattr(self.hollow.modules.get(path), "modules_to_save", None)
            for leaf, tensor in saved["default"].state_dict().items() if saved is not None else ():
                name = f"{path}.{leaf}"
                if name not in known and name != last:
                    yield name, tensor

    def size_bytes(self) -> int:
        """Of the weights that will be written."""
        total = 0
        for name in self.written_names():
            shape = self.files.shapes[name]
            dtype = self.dtype_of(name)
            each = dtype.itemsize if dtype is not None else FLOATING.get(self.files.dtypes[name], 8)
            numbers = torch.Size(shape).numel()
            if shape and name in self._ends_in_files and shape[0] < self.hollow.grown.stop:
                numbers = numbers // shape[0] * self.hollow.grown.stop
            total += numbers * each
        return total + sum(tensor.numel() for _, tensor in self.extra()) * self.dtype.itemsize

    @cached_property
    def _ends_in_files(self) -> set[str]:
        return {
            group.sources[0]
            for unit in self.units.units
            for group in unit.groups
            if group.pattern is None and group.targets[0] in self.hollow.ends
        }

    def written_names(self) -> list[str]:
        """Of the base's files; a classifier has no use for what has no place in it."""
        left_out = set(self.units.without_place) if self.labels else set()
        return [name for name in self.files.names if name not in left_out]

    def notices(self) -> list[str]:
        found = []
        if self.output_apart:
            found.append(
                "the base's output shares the weights of its input, and the adapter changed one of "
                "them: in the merged model each has its own"
            )
        added = self.hollow.grown
        if len(added):
            found.append(f"the embeddings have {len(added):,} more rows, for the new tokens")
        scheme = self.asked.quantization.scheme
        stored = storage_words(scheme, took_back=bool(self.rounded.paths))
        found += [words for words in (self.moved, stored) if words]
        return found


def prepare(asked: Merge, say: Progress) -> Work:
    """Find base and adapter and hold them against each other. Raises UserError."""
    adapter = Path(asked.adapter)
    check_mergeable(adapter)
    labels = read_labels(adapter)
    spec = ModelSpec(id=asked.model, revision=asked.revision)
    say("looking at base and adapter", None, None)
    place = Path(weights_place(spec, lambda label, expect_s: say(label, None, None)))
    if is_of_hub(asked.model):
        snapshot = snapshot_at(asked.model, asked.revision)
        if snapshot is None:
            raise UserError(
                f"the base {clean(asked.model)} is not on this machine.",
                then="Fetch it first: the Model screen does, and so does talking to the adapter.",
            )
        place = snapshot
    config = read_object(place / "config.json") or {}
    _check_base(config, asked.model)
    files = Files(place)
    built = load_config(spec)
    if labels:
        built.num_labels = len(labels)
    task = "classification" if labels else "sft"
    hollow = Hollow(skeleton(built, task, spec), adapter)
    units = Units(hollow, files.names)
    dtype, reason = _dtype(asked.precision, files)
    beside = Rounded()
    if merges_rounded(adapter):
        beside = rounded_layers(asked, built, hollow, classifies=bool(labels))
    moved = moved_on(adapter, spec)
    return Work(asked, place, adapter, labels, hollow, files, units, dtype, reason, beside, moved)


def _check_base(config: dict[str, Any], model: str) -> None:
    name = one_line(model, max_chars=80)
    found = quantized(config)
    if found is not None:
        raise UserError(
            f"the files of {name} hold it quantized ({found.words}), and there are no weights in "
            "16 bits to merge into.",
            then="Give the model that it was made from, if the adapter fits it: --base MODEL.",
        )
    if own_classes(config, {}):
        raise UserError(
            f"{name} comes with code of its own, and what it does with its weights is not known "
            "here.",
            then="Use the adapter on its base as it is.",
        )


def _dtype(wanted: str, files: Files) -> tuple[torch.dtype, str]:
    if wanted != "auto":
        return DTYPES[wanted], "as you said"
    counted: Counter[str] = Counter()
    for name, shape in files.shapes.items():
        if files.dtypes[name] in FLOATING:
            counted[_NAMES[files.dtypes[name]]] += torch.Size(shape).numel()
    most = counted.most_common(1)[0][0]
    return DTYPES[most], "the base's files hold it so"


def check_disk(work: Work) -> tuple[int, int]:
    """The bytes that will be written, and those that are free. Raises UserError."""
    out = Path(work.asked.out)
    needed = work.size_bytes()
    try:
        out.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(out.parent).free
    except OSError as error:
        raise UserError(f"{clean(str(out.parent))} cannot be written: {error.strerror}.") from None
    if free < needed * SPARE:
        raise UserError(
            f"the merged model takes {size(needed * SPARE)} in {clean(str(out.parent))}, and "
            f"{size(free)} are free.",
            then="Free some room, or choose another place: --out FOLDER.",
        )
    return needed, free


def write_weights(work: Work, folder: Path, total: int, say: Progress) -> Shards:
    """Merge and write unit by unit, in the order of the base's files. Raises OSError, UserError."""
    shards = Shards(folder)
    wanted = set(work.written_names())
    for unit in work.units.units:
        for name, tensor in _written(work, unit):
            if name in wanted:
                shards.add(name, tensor)
        say("merging", min(shards.size_bytes, total), total)
    for name in work.units.without_place:
        if name in wanted:
            dtype = work.dtype_of(name)
            tensor = work.files.tensor(name)
            shards.add(name, tensor if dtype is None else rounded(tensor, dtype, name))
    for name, tensor in work.extra():
        shards.add(name, rounded(tensor, work.dtype, name))
    return shards


def _written(work: Work, unit: Unit) -> Iterator[tuple[str, torch.Tensor]]:
    """A unit's tensors as they are written, by the files' names."""
    ends = [group.targets[0] for group in unit.groups if group.targets[0] in work.hollow.ends]
    if not unit.paths and not ends:
        for name in unit.sources:
            dtype, tensor = work.dtype_of(name), work.files.tensor(name)
            yield name, tensor if dtype is None else rounded(tensor, dtype, name)
        return
    weights = work.base_weights(unit)
    for name in ends:
        weights[name] = work.hollow.with_room(name, weights[name])
    merged = work.units.merged(unit, weights)
    for name, tensor in work.units.back(unit, merged).items():
        dtype = work.dtype_of(name)
        known = work.files.dtypes[name]
        # What the model wants in float32 stays in the precision of its files.
        yield name, rounded(tensor, dtype or DTYPES[_NAMES[known]], name)
