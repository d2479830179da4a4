"""How the next token of an answer is drawn."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

SEEDS = 2**31
"""Seeds are below it."""


class Sampling(BaseModel):
    """Temperature 0 is greedy: always the likeliest token, so nothing else but the repetition
    penalty, the length and the stop strings plays a part.

    A top_k or min_p of 0, a top_p or repetition_penalty of 1 change nothing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    temperature: float = Field(0.0, ge=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=100_000)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0, le=5)
    max_new_tokens: int = Field(256, ge=1, le=100_000)
    seed: int = Field(7, ge=0, le=SEEDS - 1)
    stop: tuple[str, ...] = ()

    @property
    def greedy(self) -> bool:
        return self.temperature == 0
