"""What a trainer is doing, kept for whoever has to say where memory ran out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Shape:
    """Of a batch: `rows` of `tokens` each, padding among them; `longest` without it."""

    rows: int
    tokens: int
    longest: int | None


class Doing:
    """The `phase` by the names of `MemoryRanOut`, and the micro-batch at hand.

    Nothing is computed as long as nobody asks: a look at a batch would wait for the card.
    """

    def __init__(self) -> None:
        self.phase = "loading"
        self._ids: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None
        self._positions: torch.Tensor | None = None

    def batch(self, phase: str, inputs: Mapping[str, Any]) -> None:
        """A micro-batch begins."""
        self.phase = phase
        self._ids = inputs["input_ids"]
        self._mask = inputs.get("attention_mask")
        self._positions = inputs.get("position_ids")

    def shape(self) -> Shape | None:
        """That of the micro-batch at hand; None before the first. Rows that are packed stand in
        one."""
        if self._ids is None:
            return None
        rows, tokens = self._ids.shape
        return Shape(int(rows), int(tokens), self._longest())

    def _longest(self) -> int | None:
        # Moved first and counted on the CPU: there may be no memory left on the card.
        try:
            if self._mask is not None:
                return int(self._mask.cpu().sum(-1).max())
            if self._positions is not None:
                return int(self._positions.cpu().max()) + 1
        except RuntimeError:  # the card answers no more
            return None
        return None
