"""A row as tokens, and which of them are learned: what trl does, without loading trl.

Follows SFTTrainer._prepare_dataset of trl 1.16 for conversational prompt/completion rows; a test
holds it against the batches of a real trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tui_lora.core.rows import Turn


@dataclass(frozen=True)
class Fed:
    """Token ids up to max length, and for each whether the loss counts it.

    `cut_tokens` were lost behind max length. A row none of whose tokens is learned is left out of
    training.
    """

    ids: list[int]
    trained: list[bool]
    cut_tokens: int


def fed(
    prompt: Sequence[Turn],
    completion: Sequence[Turn],
    tokenizer: Any,
    loss_on: str = "auto",
    max_length: int | None = None,
) -> Fed:
    """The row as the model is fed it. `loss_on` auto means completion; `max_length` in tokens.

    Raises what the chat template raises (ValueError without one, jinja2's TemplateError).
    """
    alone = _tokens(tokenizer, prompt, add_generation_prompt=True)
    ids = _tokens(tokenizer, [*prompt, *completion])
    learned_from = 0
    if loss_on != "all":
        # Not len(alone): some templates write a prompt differently once an answer follows.
        learned_from = _common_prefix(alone, ids)
    trained = [at >= learned_from for at in range(len(ids))]
    kept = len(ids) if max_length is None else min(len(ids), max_length)
    return Fed(ids[:kept], trained[:kept], len(ids) - kept)


def _tokens(tokenizer: Any, turns: Sequence[Turn], **arguments: Any) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        list(turns), tokenize=True, return_dict=True, **arguments
    )
    return list(encoded["input_ids"])


def _common_prefix(one: list[int], other: list[int]) -> int:
    length = 0
    for token, other_token in zip(one, other, strict=False):
        if token != other_token:
            break
        length += 1
    return length
