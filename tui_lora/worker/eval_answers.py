"""Greedy answers to many rows at once, as the chat would write each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jinja2 import TemplateError
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from tui_lora.core.formats import Example
from tui_lora.core.text import one_line
from tui_lora.worker.eval_losses import Side, as_side
from tui_lora.worker.spool import Place
from tui_lora.worker.templates import end_of_turn_ids

TOKENS_AT_ONCE = 4096
"""Of prompts and answers in a batch: what a chat is counted with before it is loaded."""

MOST_AT_ONCE = 16


class Cancelled(Exception):
    """The viewer wants no more; answers that are half written are dropped."""


@dataclass(frozen=True)
class Question:
    """A row to be answered: `ids` end where the answer begins."""

    at: int
    place: Place
    ids: list[int]
    reference: str
    example: Example


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    ended_by: Literal["end", "length"]


def prompt_ids(tokenizer: Any, example: Example) -> list[int]:
    """The row's turns as token ids, ready for the answer to begin. Raises ValueError in words."""
    try:
        encoded = tokenizer.apply_chat_template(
            example["prompt"],
            tools=example.get("tools"),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise ValueError(
            f"the template refuses it: {one_line(str(error), max_chars=200)}"
        ) from None
    ids = list(encoded["input_ids"])
    if not ids:
        raise ValueError("nothing is asked")
    return ids


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """What ends an answer: the template's end of turn, and what the model itself ends with."""
    own = model.generation_config.eos_token_id
    named = own if isinstance(own, list | tuple) else [own]
    return sorted(end_of_turn_ids(tokenizer) | {int(token) for token in named if token is not None})


def questions_at_once(model: Any, longest: int, max_new_tokens: int) -> tuple[int, str]:
    """How many rows are answered at once, and why."""
    if getattr(model, "_is_stateful", False):
        return 1, "this kind of model carries a state, which padding would change"
    fits = max(1, min(MOST_AT_ONCE, TOKENS_AT_ONCE // (longest + max_new_tokens)))
    return fits, f"{TOKENS_AT_ONCE:,} tokens at a time, prompts of up to {longest:,} among them"


def answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    side: Side,
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    cancelled: threading.Event,
    on_token: Callable[[int], None],
) -> list[Answer]:
    """The answers of one batch, padded on the left. Raises Cancelled."""
    longest = max(len(question.ids) for question in questions)
    ids = torch.full((len(questions), longest), int(tokenizer.pad_token_id))
    mask = torch.zeros_like(ids)
    for row, question in enumerate(questions):
        ids[row, longest - len(question.ids) :] = torch.tensor(question.ids)
        mask[row, longest - len(question.ids) :] = 1
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(ends),
        pad_token_id=int(tokenizer.pad_token_id),
        use_cache=True,
    )
    with torch.inference_mode(), as_side(model, side):
        written = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_Heard(cancelled, longest, on_token)]),
        )
    if cancelled.is_set():
        raise Cancelled
    return [_ended(tokenizer, row, frozenset(ends)) for row in written[:, longest:].tolist()]


class _Heard(StoppingCriteria):
    """Ends generate() where it is cancelled, and tells how far it is."""

    def __init__(
        self, cancelled: threading.Event, prompt: int, on_token: Callable[[int], None]
    ) -> None:
        self._cancelled, self._prompt, self._on_token = cancelled, prompt, on_token

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self._on_token(input_ids.shape[1] - self._prompt)
        return torch.full(
            (input_ids.shape[0],),
            self._cancelled.is_set(),
            dtype=torch.bool,
            device=input_ids.device,
        )


def _ended(tokenizer: Any, ids: list[int], ends: frozenset[int]) -> Answer:
    """What stands before the first end; behind it generate() pads."""
    at = next((number for number, token in enumerate(ids) if token in ends), None)
    own = ids if at is None else ids[:at]
    text = tokenizer.decode(own, skip_special_tokens=True)
    return Answer(text, len(own) + (at is not None), "length" if at is None else "end")
