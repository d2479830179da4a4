"""How much of a card a run will take: a forecast, its parts, and what that means for a card."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["simulated", "formula"]
Verdict = Literal["fits", "tight", "does_not_fit", "unknown"]

TIGHT_SHARE = 0.05
"""Headroom below this share of the card's total is tight."""

CONTEXT_GIB = 0.3
"""What CUDA takes of a card for a process before torch has asked for anything, where it was not
measured yet: 0.14 GiB on a T4 with its first kernels loaded, more on larger cards."""

PARTS = (
    "weights", "adapter", "gradients", "optimizer", "activations", "workspace", "loss", "context"
)  # fmt: skip


class Parts(BaseModel):
    """GiB at the moment of the peak; together they are the process's peak.

    `activations` are kept for the way back; `workspace` is what one layer needs while it works,
    with what torch's allocator holds and nobody uses; `loss` is the output layer's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    weights: float
    adapter: float
    gradients: float
    optimizer: float
    activations: float
    workspace: float
    loss: float
    context: float

    @property
    def total(self) -> float:
        return float(sum(getattr(self, name) for name in PARTS))


class Forecast(BaseModel):
    """A run's peak in GiB: allocated by tensors, reserved by torch, held by the process.

    `phase` is when it comes (forward, backward, step, evaluation); `reasons` say what was assumed.
    `stored` is how the base is stored where that is known to be other than the settings say, since
    its files are quantized already (`nf4`); empty where it is as they say.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    method: Method
    parts: Parts
    peak_allocated_gib: float
    peak_reserved_gib: float
    phase: str = ""
    reasons: tuple[str, ...] = ()
    stored: str = ""

    @property
    def peak_process_gib(self) -> float:
        return self.peak_reserved_gib + self.parts.context


def headroom_gib(forecast: Forecast, total_gib: float, others_gib: float = 0.0) -> float:
    """What is left of a card at the peak, by its own total and what others hold on it."""
    return total_gib - forecast.peak_process_gib - others_gib


def verdict(headroom: float | None, total_gib: float | None) -> Verdict:
    if headroom is None or total_gib is None:
        return "unknown"
    if headroom < 0:
        return "does_not_fit"
    return "tight" if headroom < TIGHT_SHARE * total_gib else "fits"
