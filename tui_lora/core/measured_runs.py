"""Runs on cards: what was predicted of their memory, what was measured, and what that teaches."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from tui_lora.core.memory import CONTEXT_GIB

_LAST = 10
_LEAST_GIB, _MOST_GIB = 0.02, 4.0
"""A context outside of these was not measured right: a card's own share is 0.1 to 1 GiB."""


class Peaks(BaseModel):
    """GiB at the peak; None where it is not known. `process` is what the process held."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    allocated_gib: float | None = Field(None, ge=0, le=4096)
    reserved_gib: float | None = Field(None, ge=0, le=4096)
    context_gib: float | None = Field(None, ge=0, le=4096)

    @property
    def process_gib(self) -> float | None:
        if self.reserved_gib is None or self.context_gib is None:
            return None
        return self.reserved_gib + self.context_gib


class MeasuredRun(BaseModel):
    """An attempt that ran on a card. `t` unix seconds; settings as they became; empty or None
    where it is not known."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    t: float
    session: str
    attempt: int = 1
    architecture: str = ""
    parameters: int | None = None
    task: str = ""
    scheme: str = ""
    variant: str = ""
    r: int | None = None
    micro_batch: int | None = None
    max_length: int | None = None
    tokens: int | None = None
    checkpointing: str = ""
    optimizer: str = ""
    attention: str = ""
    packing: str = ""
    card: str
    total_gib: float | None = None
    driver: str = ""
    torch: str = ""
    predicted: Peaks | None = None
    measured: Peaks = Peaks()


@dataclass(frozen=True)
class Context:
    """CUDA's own share of a card in GiB, and where that figure is from."""

    gib: float
    source: str


ASSUMED = Context(CONTEXT_GIB, f"{CONTEXT_GIB:.2f} assumed")


def learned_context(
    runs: Iterable[MeasuredRun], *, card: str, driver: str, torch: str
) -> Context | None:
    """The median of the last ten runs (in the order of their time) on the same card, with a driver
    of the same major version and the same torch; None where there was none."""
    if not (card and driver and torch):
        return None
    alike = sorted(
        (
            run
            for run in runs
            if plain_name(run.card) == plain_name(card)
            and _major(run.driver) == _major(driver)
            and run.torch == torch
            and run.measured.context_gib is not None
            and _LEAST_GIB <= run.measured.context_gib <= _MOST_GIB
        ),
        key=lambda run: run.t,
    )[-_LAST:]
    if not alike:
        return None
    found = statistics.median(run.measured.context_gib or 0.0 for run in alike)
    many = "1 run" if len(alike) == 1 else f"{len(alike)} runs"
    return Context(found, f"learned on this card ({many})")


def difference(predicted: float | None, measured: float | None) -> float | None:
    """The prediction's error as a share of what was measured: 0.05 is 5 % too much."""
    if predicted is None or not measured:
        return None
    return predicted / measured - 1


def plain_name(card: str) -> str:
    """A card's name without its maker's: NVML's and CUDA's differ by that on some systems."""
    return card.removeprefix("NVIDIA ").removeprefix("GeForce ").strip()


def _major(version: str) -> str:
    return version.partition(".")[0]
