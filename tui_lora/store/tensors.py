"""Tensors out of safetensors files as numpy arrays, without torch: one at a time, as float32."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tui_lora.store.weights import BadWeights, read_safetensors

Array = NDArray[np.float32]

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_CHUNK = 1 << 22
"""Numbers read at once where a whole tensor is not needed."""


class TensorFile:
    """A safetensors file. Raises BadWeights, also where it was cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = read_safetensors(path)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._file.shapes

    def is_float(self, name: str) -> bool:
        """Whether the tensor holds numbers as they are, and not packed or quantized ones."""
        return self._file.dtypes[name] in _TYPES

    def read(self, name: str) -> Array:
        """The tensor in its own shape. Raises BadWeights for what is no float."""
        begin, count, kind = self._span(name)
        return self._numbers(begin, count, kind).reshape(self.shapes[name])

    def norm(self, name: str) -> float:
        """Frobenius norm, summed in float64 in portions: an embedding may be a gigabyte."""
        begin, count, kind = self._span(name)
        total = 0.0
        for at in range(0, count, _CHUNK):
            part = min(_CHUNK, count - at)
            numbers = self._numbers(begin + at * np.dtype(kind).itemsize, part, kind)
            total += float(np.dot(numbers, numbers))
        return math.sqrt(total)

    def _span(self, name: str) -> tuple[int, int, str]:
        kind = _TYPES.get(self._file.dtypes[name])
        begin, end = self._file.spans[name]
        count = math.prod(self.shapes[name])
        if kind is None or begin < 8 or end - begin != count * np.dtype(kind).itemsize:
            raise BadWeights(f"holds {name} in a way that cannot be read")
        return begin, count, kind

    def _numbers(self, begin: int, count: int, kind: str) -> Array:
        try:
            raw = np.fromfile(self.path, dtype=kind, count=count, offset=begin)
        except OSError as error:
            raise BadWeights(f"cannot be read: {error.strerror}") from None
        if len(raw) < count:
            raise BadWeights("was cut off while it was read")
        if kind == "<u2":
            # A bfloat16 is the upper half of a float32.
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32, copy=False)
