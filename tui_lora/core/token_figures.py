"""How sure a model was of the tokens of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tui_lora.core.chat import TokenShown

UNLIKELY = 0.1
"""A token of the answer with less than this probability is marked."""


@dataclass(frozen=True)
class TokenFigures:
    """Of the tokens of an answer: their number, the mean of their probabilities, how many of them
    were unlikely, and the perplexity exp(-1/n · Σ ln p), infinite where one was impossible.
    """

    tokens: int
    unlikely: int
    mean: float | None = None
    perplexity: float | None = None


def token_figures(tokens: Sequence[TokenShown]) -> TokenFigures:
    """None of both figures where no token of the answer has a probability."""
    answer = [token for token in tokens if token.part == "answer"]
    known = [token.probability for token in answer if token.probability is not None]
    few = sum(unlikely(token) for token in answer)
    if not known:
        return TokenFigures(len(answer), few)
    mean = sum(known) / len(known)
    if min(known) <= 0:
        return TokenFigures(len(answer), few, mean, math.inf)
    return TokenFigures(
        len(answer), few, mean, math.exp(-sum(math.log(p) for p in known) / len(known))
    )


def unlikely(token: TokenShown) -> bool:
    return token.part == "answer" and token.probability is not None and token.probability < UNLIKELY


def rank(token: TokenShown) -> int | None:
    """Which of the shown alternatives it was, from 1; None where it was none of them."""
    return next((at for at, other in enumerate(token.others, 1) if other.id == token.id), None)
