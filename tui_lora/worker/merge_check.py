"""Whether the weights on the disk are what base and adapter make together.

What was written is read back and held against the base's files and the adapter's layers as they
answer, not against what was computed to write it. The nearest number that a precision has is at
most half a unit in the last place away, so that is what a weight may be off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora.layer import Embedding, LoraLayer, ParamWrapper
from peft.utils import ModulesToSaveWrapper, TrainableTokensWrapper
from safetensors import safe_open

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, number
from tui_lora.store.adapter_files import PREFIX, WEIGHTS
from tui_lora.worker.merge_layers import ADAPTER, Tensors
from tui_lora.worker.merge_units import Files
from tui_lora.worker.merge_work import Progress, Work

COLUMNS = 48
"""Inputs of each layer of which all weights are compared, spread evenly; a sum over all inputs is
compared beside them, in which no weight is left out."""

_SLACK = 2e-5
"""Of the size of a number: what float32 sums of some thousands are off, in another order."""


@dataclass
class Found:
    """What was compared so far. `worst_ulp` in units in the last place; `kept` and `added` are sums
    over what the adapter adds: what is left of it in the files, and all of it, squared."""

    weights: int = 0
    worst_ulp: float = 0.0
    kept: float = 0.0
    added: float = 0.0

    @property
    def kept_share(self) -> float | None:
        return self.kept / self.added if self.added else None


def check_weights(work: Work, folder: Path, say: Progress) -> Found:
    """Read all of `folder` back and compare it. Raises UserError with the first that is wrong."""
    written, found = Files(folder), Found()
    expected = set(work.written_names()) | {name for name, _ in work.extra()}
    if expected != set(written.names):
        raise _wrong(f"{sorted(expected ^ set(written.names))[0]} is not where it belongs")
    total, done = work.size_bytes(), 0
    check = _Check(work, written, found)
    for unit in work.units.units:
        if unit.paths:
            check.merged(unit)
        else:
            check.copied(unit.sources)
        for name in unit.sources:
            shape = written.shapes.get(name, ())
            done += torch.Size(shape).numel() * work.dtype.itemsize
        say("comparing what was written", min(done, total), total)
    check.copied([name for name in work.units.without_place if name in expected])
    check.brought_along()
    return found


class _Check:
    def __init__(self, work: Work, written: Files, found: Found) -> None:
        self._work, self._written, self._found = work, written, found

    def copied(self, names: Any) -> None:
        """What the adapter does not touch is the base's, but for its precision."""
        for name in names:
            dtype, base = self._work.dtype_of(name), self._work.files.tensor(name)
            mine = self._written.tensor(name)
            wanted = base if dtype is None else base.to(dtype)
            if not torch.equal(mine[: len(wanted)] if mine.ndim else mine, wanted):
                raise _wrong(f"{name} is not the base's")
            self._found.weights += mine.numel()

    def merged(self, unit: Any) -> None:
        units, hollow = self._work.units, self._work.hollow
        base, mine = self._work.base_weights(unit), units.load(unit, self._written)
        for path in unit.paths:
            start = f"{path}."
            was = {
                name.removeprefix(start): hollow.with_room(name, tensor)
                for name, tensor in base.items()
                if name.startswith(start)
            }
            now = {n.removeprefix(start): t for n, t in mine.items() if n.startswith(start)}
            self._module(path, was, now)
        for name, tensor in mine.items():
            if not any(name.startswith(f"{path}.") for path in unit.paths):
                self._near(name, tensor, base[name])

    def _module(self, path: str, was: Tensors, now: Tensors) -> None:
        module = self._work.hollow.modules[path]
        if isinstance(module, ModulesToSaveWrapper | TrainableTokensWrapper):
            return  # compared with the adapter's file, below
        if isinstance(module, ParamWrapper):
            self._stacks(path, module, was, now)
        elif isinstance(module, LoraLayer):
            self._layer(path, module, was, now)

    def _layer(self, path: str, module: Any, was: Tensors, now: Tensors) -> None:
        """The layer answers single inputs, by the adapter's way beside the base and by the merged
        weights: what comes out is weights."""
        hollow = self._work.hollow
        probes = _probes(module)
        with torch.no_grad():
            with hollow.holding(path, dict(was)):
                wanted = [module(probe) for probe in probes]
            with hollow.holding(path, dict(was)) as layer:
                before = [layer(probe) for probe in probes]
            # The merged layer has its own biases, those that the adapter brought among them.
            with hollow.holding(path, dict(now)) as layer:
                real = [layer(probe) for probe in probes]
        zero = 0.0 if isinstance(module, Embedding) else wanted[-1][-1:]
        kept = 0.0 if isinstance(module, Embedding) else real[-1][-1:]
        self._near(path, real[0] - kept, wanted[0] - zero)
        self._count(before[0], wanted[0], real[0])
        if len(probes) > 1:
            self._sum(path, now["weight"], real[1], wanted[1])

    def _stacks(self, path: str, module: Any, was: Tensors, now: Tensors) -> None:
        """Experts' weights that lie in one stack: what their layers add while they answer."""
        layer = module
        with torch.no_grad(), self._work.hollow.holding(path, dict(was)):
            while isinstance(layer, ParamWrapper):
                leaf = layer.parameter_name
                if layer.num_experts > 1:
                    one, other, scale = layer.get_delta_factors(ADAPTER)
                    added = scale * torch.matmul(one, other)
                else:
                    added = layer.get_delta_weight(ADAPTER)
                self._near(f"{path}.{leaf}", now[leaf], was[leaf] + added)
                self._count(was[leaf], was[leaf] + added, now[leaf])
                layer = layer.base_layer

    def _near(self, name: str, mine: torch.Tensor, wanted: torch.Tensor) -> None:
        """Every number is the nearest one to what it should be."""
        if mine.shape != wanted.shape:
            raise _wrong(f"{name} has another shape")
        unit = unit_of(wanted, self._work.dtype)
        off = (mine - wanted).abs()
        slack = _SLACK * wanted.abs().amax()
        wrong = off > 0.5 * unit + slack
        worst = float((off / unit).max()) if off.numel() else 0.0
        if bool(wrong.any()) or not bool(torch.isfinite(mine).all()):
            raise _wrong(
                f"{name} is off by up to {number(float(off.max()))} ({int(wrong.sum()):,} of "
                f"{off.numel():,} weights), and rounding accounts for "
                f"{number(float(0.5 * unit.max()))} at most"
            )
        self._found.weights += mine.numel()
        if self._work.dtype != torch.float32:
            self._found.worst_ulp = max(self._found.worst_ulp, worst)

    def _sum(
        self, name: str, weight: torch.Tensor, mine: torch.Tensor, wanted: torch.Tensor
    ) -> None:
        """A random sum over all inputs is off by what rounding each weight makes of it: a unit in
        the last place over the square root of 12, for each weight of it (n independent roundings);
        three times that is allowed."""
        outputs = wanted.shape[-1]
        unit = unit_of(weight, self._work.dtype)
        rounding = float((unit.double().square().sum() / 12 / outputs).sqrt())
        off = float((mine - wanted).double().square().mean().sqrt())
        allowed = 3 * rounding + _SLACK * float(wanted.double().square().mean().sqrt())
        if off > allowed:
            raise _wrong(
                f"sums over the inputs of {name} are off by {number(off)} in the mean, and "
                f"rounding accounts for {number(allowed)}"
            )

    def _count(self, before: torch.Tensor, wanted: torch.Tensor, real: torch.Tensor) -> None:
        """How much of what the adapter adds is left once it is rounded: the projection of the one
        on the other."""
        added = (wanted - before).double()
        self._found.added += float(added.square().sum())
        self._found.kept += float((added * (real - before).double()).sum())

    def brought_along(self) -> None:
        """What the adapter holds as it is: layers trained whole, rows of tokens, biases."""
        config = self._work.hollow.model.peft_config[ADAPTER]
        rows = config.trainable_token_indices
        with safe_open(self._work.adapter / WEIGHTS, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 a safe_open is no mapping
                if ".lora_" in key:
                    continue
                name = key.removeprefix(PREFIX).replace(".base_layer.", ".")
                wanted = file.get_tensor(key).float()
                path, _, leaf = name.partition(".token_adapter.")
                if leaf:
                    ids = rows if isinstance(rows, list) else _rows_of(rows, path)
                    for one in self._sharing(f"{path}.weight"):
                        self._near(one, self._mine(one)[ids], wanted)
                else:
                    self._near(name, self._mine(name), wanted)

    def _sharing(self, name: str) -> list[str]:
        """The input's weights, and the output's of their own that were trained as these."""
        hollow = self._work.hollow
        last = hollow.ends[1]
        both = hollow.tied and self._work.output_apart
        return [name, last] if both and name == hollow.ends[0] and last else [name]

    def _mine(self, name: str) -> torch.Tensor:
        """A weight of the merged model by the model's name."""
        for unit in self._work.units.units:
            if any(name in group.targets for group in unit.groups):
                return self._work.units.load(unit, self._written)[name]
        return self._written.tensor(name).float()


def _rows_of(rows: dict[str, list[int]], path: str) -> list[int]:
    return next(ids for name, ids in rows.items() if f".{path}".endswith(f".{name}"))


def _probes(module: Any) -> list[torch.Tensor]:
    """Single inputs of a layer; and for one that adds up, random ones with a zero at the end."""
    layer = module.get_base_layer()
    if isinstance(module, Embedding):
        size = layer.num_embeddings
        return [torch.linspace(0, size - 1, min(size, 512)).long()]
    size = getattr(layer, "in_features", None) or layer.weight.shape[0]
    picked = torch.linspace(0, size - 1, min(COLUMNS, size)).round().long().unique()
    single = torch.zeros(len(picked), size)
    single[torch.arange(len(picked)), picked] = 1.0
    random = torch.randn(16, size, generator=torch.Generator().manual_seed(size))
    return [single, torch.cat([random, torch.zeros(1, size)])]


def unit_of(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A unit in the last place of each number, as `dtype` stores it."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(tensor.abs().clamp_min(info.smallest_normal))
    return torch.ldexp(torch.full_like(tensor, info.eps), exponent - 1)


def _wrong(what: str) -> UserError:
    return UserError(
        f"the merged model is not what base and adapter make together: {clean(what)}.",
        then="It was not put in place. Please report this with the adapter's config.",
        exit_code=1,
    )
