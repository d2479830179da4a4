"""Which storages live while a model runs, and when each came and went."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tui_lora.worker.memory.allocator import EMPTIED, Event

Segment = tuple[int, str, int | None]
"""A part of a run: the step, what is done, and in which layer (None: outside of them)."""

GoOn = Callable[[], bool]


class Dropped(BaseException):
    """Nobody wants to know any more. Not an Exception, so that no library takes it for its own."""


class Storages(TorchDispatchMode):
    """Counts storages as a card would hold them, in bytes before the allocator rounds them.

    `events` is every allocation and release in order. `marks` are the indices at which segments
    begin. `kinds` says what each storage is for, by
    its number: what was named beforehand (weights, adapter ...), else `kind`, which the caller sets
    to what is being done. What CUDA's kernels allocate inside, and the CPU's do not, is added;
    `outliers`: int8 looks for some; `efficient`: PyTorch's memory-efficient attention is meant.
    Ends with Dropped in the middle of a run once `go_on` says no.
    """

    def __init__(
        self, *, outliers: bool = False, efficient: bool = False, go_on: GoOn = lambda: True
    ) -> None:
        super().__init__()
        self._go_on = go_on
        self.outliers, self.efficient = outliers, efficient
        self.events: list[Event] = []
        self.marks: list[tuple[int, Segment]] = []
        self.kinds: dict[int, str] = {}
        self.kind = "activations"
        self._live: dict[int, int] = {}
        self._widened: int | None = None
        self._half_softmaxes: set[int] = set()
        self._halved: set[int] = set()
        self._handed_on: set[int] = set()

    def add(self, tensor: Any, kind: str | None = None) -> None:
        """Count a tensor's storage, once; a `kind` given later is the one that counts."""
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        number = self._live.get(key)
        if number is None:
            number = self._live[key] = len(self.kinds) + 1
            self.kinds[number] = kind or self.kind
            self.events.append((number, storage.nbytes()))
            weakref.finalize(storage, self._freed, key, number)
        elif kind is not None:
            self.kinds[number] = kind

    def mark(self, segment: Segment) -> None:
        """What comes from here on happens in `segment`."""
        # Raised inside an operation it would end the process: torch's own code does not expect it.
        if not self._go_on():
            raise Dropped
        self.marks.append((len(self.events), segment))

    def passing(self, size_bytes: int) -> None:
        """Count what a kernel allocates and frees again before it returns."""
        self.drop(self._take_passing(size_bytes))

    def _take_passing(self, size_bytes: int) -> int:
        return self.take(size_bytes, "workspace" if self.kind == "activations" else self.kind)

    def take(self, size_bytes: int, kind: str) -> int:
        """Count what no tensor stands for here; its number."""
        number = len(self.kinds) + 1
        self.kinds[number] = kind
        self.events.append((number, size_bytes))
        return number

    def drop(self, number: int) -> None:
        """What was taken is given back."""
        self.events.append((-number, 0))

    def empty_cache(self) -> None:
        self.events.append(EMPTIED)

    def _freed(self, key: int, number: int) -> None:
        if self._live.get(key) == number:
            del self._live[key]
        if number in self._handed_on:
            self._handed_on.discard(number)
        else:
            self.drop(number)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        passing = [self._take_passing(size) for size in _inside(name, args, kwargs or {})]
        found = func(*args, **(kwargs or {}))
        if name.startswith("aten._to_copy") and self._key(args[0]) in self._halved:
            self._hand_on(args[0], found)
        for tensor in tree_leaves(found):
            self.add(tensor)
        for number in reversed(passing):
            self.drop(number)
        if name.startswith("aten._to_copy"):
            self._widened = self._key(found) if _widens(args[0], found) else None
        elif name.startswith("aten._softmax_backward_data"):
            self._softmax_back(found, args)
        elif name.startswith("aten._softmax"):
            if self._key(args[0]) == self._widened:
                # On a card the kernel reads float16 and writes float32 by itself.
                self._resize(args[0], 0)
                self._half_softmaxes.add(self._key(found))
        elif name.startswith("aten.bernoulli_"):
            # On a card what dropout drops is a byte each.
            self._resize(found, found.numel())
        elif "attention_for_cpu_backward" in name and self.efficient:
            # float32 sums for the queries' gradient, or gradient times output where those are
            # float32 already (ATen/native/transformers/cuda/attention_backward.cu).
            self.passing(4 * args[1].numel())
        elif "int8_vectorwise_quant" in name and self.outliers:
            # Looking for them takes the absolute values, and where they are large.
            self.passing(args[0].numel() * (args[0].element_size() + 1))
        return found

    def _softmax_back(self, found: torch.Tensor, args: Any) -> None:
        # The kernel multiplies gradient and output into a tensor of its own ...
        self.passing(args[0].numel() * args[0].element_size())
        if self._key(args[1]) in self._half_softmaxes:
            # ... and writes half precision at once, which is not converted any more.
            self._halved.add(self._key(found))
            self._half_softmaxes.discard(self._key(args[1]))
            self._resize(found, found.untyped_storage().nbytes() // 2)

    def _hand_on(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """On a card `after` is `before` itself."""
        self._halved.discard(self._key(before))
        number = self._live[self._key(before)]
        self._handed_on.add(number)
        storage = after.untyped_storage()
        self._live[storage._cdata] = number
        weakref.finalize(storage, self._freed, storage._cdata, number)

    def _resize(self, tensor: torch.Tensor, size_bytes: int) -> None:
        """Say of a tensor that was allocated a moment ago how large it is on a card."""
        number = self._live[self._key(tensor)]
        for index in range(len(self.events) - 1, -1, -1):
            if self.events[index][0] == number:
                self.events[index] = (number, size_bytes)
                return

    @staticmethod
    def _key(tensor: torch.Tensor) -> int:
        return int(tensor.untyped_storage()._cdata)


def _inside(name: str, args: Any, kwargs: Any) -> list[int]:
    """Bytes of what bitsandbytes' kernels allocate before what they give back, and free behind it
    (backends/cuda/ops.py)."""
    if "gemm_4bit" in name:
        # Beyond some hundred rows it unpacks the whole weight first, and before it the scales.
        rows, columns = args[2]
        packed_scales = kwargs.get("absmax_8bit")
        scales = [] if packed_scales is None else [4 * packed_scales.numel()] * 2
        return [*scales, rows * columns * args[0].element_size()]
    if "int8_scaled_mm" in name:
        # It multiplies into int32, and writes float16 first.
        count = math.prod(args[0].shape[:-1]) * args[1].shape[0]
        dtype = kwargs.get("dtype") or torch.float16
        return [4 * count] if dtype == torch.float16 else [4 * count, 2 * count]
    return []


def _widens(before: torch.Tensor, after: torch.Tensor) -> bool:
    # Of bfloat16 it is done with a copy on cards too (ATen/native/SoftMax.cpp).
    return before.dtype == torch.float16 and after.dtype == torch.float32
