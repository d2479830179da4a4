"""How a classifier does on held-out rows: a file a measurement in a session's evaluations/."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ClassReport(BaseModel):
    """`confusion[true][predicted]` counts rows, in the order of `labels`.

    `macro_f1` is the mean of the labels' F1; a label that is neither there nor predicted is left
    out of it. `step` 0 is the untrained head on the base.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    v: int = 1
    t: float
    step: int
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    rows: int
    accuracy: float
    macro_f1: float
