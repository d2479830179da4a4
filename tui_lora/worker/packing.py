"""Rows in one sequence: whether that is done, and whether the model keeps them apart."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.worker.attention import Attention
from tui_lora.worker.oom import is_out_of_memory

FIELD = "training.packing"

KEEPS_ROWS_APART = frozenset(
    {
        *("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text"),
        *("phi", "phi3", "glm", "starcoder2", "olmo2", "granite", "cohere", "stablelm"),
        *("gpt2", "gpt_neox", "gptj", "gpt_bigcode"),
    }
)
"""Kinds of model (`model_type`) of which a test shows that a row sees nothing of the one before it
in a sequence. Only these are packed without being asked for it."""

_LEAK = 0.05
"""Of the change that a row makes in the one behind it when the two are one text."""


def choose_packing(
    spec: RunSpec, attention: Attention, bare: Any, packed: bool | None = None
) -> tuple[bool, Choice | None, str]:
    """Whether rows are packed, why where it was auto, and what to say of it (empty: nothing).

    `bare` is the model's skeleton; `packed` what a run that goes on began with. Raises UserError
    where the model has no way to keep rows apart.
    """
    wanted = spec.training.packing
    if spec.task != "sft" or wanted is False:
        return False, None, ""
    choice = None
    if wanted == "auto":
        wanted, reason = _auto(attention, bare)
        if packed not in (None, wanted):
            wanted, reason = bool(packed), "as this run began, or its steps would be others"
        choice = Choice(setting=FIELD, value="yes" if wanted else "no", reason=reason)
    if not wanted:
        return False, choice, ""
    why = _why_not(bare)
    if why:
        raise UserError(
            f"{why}, so rows in one sequence would run together.",
            where=FIELD,
            then="Set it to auto.",
        )
    if attention.is_flash:
        return True, choice, ""
    tokens = spec.training.max_length * spec.training.micro_batch
    notice = (
        "packing without flash attention keeps rows apart by a mask: attention is computed between "
        f"all of the {tokens:,} tokens of a micro-batch, which may cost more than padding would"
    )
    return True, choice, notice


def _auto(attention: Attention, bare: Any) -> tuple[bool, str]:
    kind = str(bare.config.get_text_config().model_type)
    if not attention.is_flash:
        return False, "without flash attention, rows in one sequence cost more than their padding"
    if kind not in KEEPS_ROWS_APART:
        return False, f"it was not tried whether {kind} keeps rows in one sequence apart"
    return True, "flash attention keeps the rows in a sequence apart at no cost"


def check_apart(model: Any) -> None:
    """Raise UserError if a row changes what the loaded model makes of the next row in a sequence.

    Three forward passes over 16 tokens, fed as trl's collator feeds packed rows.
    """
    try:
        leak = leak_between_rows(model)
    except (ValueError, TypeError, RuntimeError, ImportError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"this model cannot be fed packed rows: {one_line(str(error), max_chars=300)}",
            where=FIELD,
            then="Set it to no.",
        ) from error
    if leak > _LEAK:
        raise UserError(
            "this model lets a row see the one before it in a sequence "
            f"({leak:.0%} of what it would see if the two were one text).",
            where=FIELD,
            then="Set it to no.",
        )


def leak_between_rows(model: Any) -> float:
    """How much a row changes the logits of the next one in a sequence, as a share of how much it
    does when the two are one text: 0 is nothing."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    some, others, row = (
        [(start + 3 * n) % vocabulary for n in range(8)] for start in (11, 97, 211)
    )

    def logits(before: list[int], *, packed: bool) -> torch.Tensor:
        ids = [*before, *row]
        lengths = [len(before), len(row)] if packed else [len(ids)]
        batch = collate([{"input_ids": ids, "seq_lengths": lengths}])
        batch.pop("labels")
        given = {
            name: value.to(model.device) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        found: torch.Tensor = model(**given, use_cache=False).logits[0, len(before) :]
        return found.float()

    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            apart = logits(some, packed=True) - logits(others, packed=True)
            together = logits(some, packed=False) - logits(others, packed=False)
    finally:
        model.train(was_training)
    whole = together.norm().item()
    return apart.norm().item() / whole if whole else 0.0


def _why_not(bare: Any) -> str:
    """Why a model has no way to tell rows apart; empty when it may have one."""
    if bare._is_stateful:
        return "this kind of model carries a state from token to token"
    if "position_ids" not in inspect.signature(bare.base_model.forward).parameters:
        return "this kind of model is not told where in a row a token stands"
    return ""
