"""A micro-batch through the model, as each task's trainer sends it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tui_lora.worker.memory.recipe import Recipe
from tui_lora.worker.memory.storages import Storages
from tui_lora.worker.variants import freeze

OnPass = Callable[[str], None]
"""Hears which pass through the model comes: `forward`, or one without gradients `ahead` of it or
`behind` it."""


def loss_of(
    recipe: Recipe, model: Any, ids: torch.Tensor, storages: Storages, on_pass: OnPass
) -> tuple[torch.Tensor, Any]:
    """The loss, and what whoever computes it holds until the gradient is there."""
    hook = _backbone(recipe, model).register_forward_hook(_becomes_loss(storages))
    context = (
        torch.autocast("cpu", dtype=recipe.dtype)
        if recipe.autocast and recipe.dtype != torch.float32
        else contextlib.nullcontext()
    )
    if recipe.autocast and recipe.lora is None:
        context = torch.autocast("cpu", dtype=torch.bfloat16)
    with context:
        found = _LOSSES[recipe.task](recipe, model, ids, on_pass)
    hook.remove()
    return found


def _of_rows(
    recipe: Recipe, model: Any, ids: torch.Tensor, on_pass: OnPass
) -> tuple[torch.Tensor, Any]:
    on_pass("forward")
    if not recipe.fused_loss:
        found = model(input_ids=ids, labels=ids)
        return found.loss, found
    if recipe.packed:
        # trl joins the rows of a micro-batch; where one begins, positions do so too.
        ids = ids.reshape(1, -1)
        places = torch.zeros_like(ids)
        return -_log_probs(model, ids, None, places).sum() / ids.numel(), None
    # Rows beside each other are seldom of one length; one alone has no padding.
    mask = torch.ones_like(ids) if len(ids) > 1 else None
    return -_log_probs(model, ids, mask).sum() / ids.numel(), None


def _of_labels(
    recipe: Recipe, model: Any, ids: torch.Tensor, on_pass: OnPass
) -> tuple[torch.Tensor, Any]:
    on_pass("forward")
    labels = torch.zeros(len(ids), dtype=torch.long)
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)
    return found.loss, found


def _of_pairs(
    recipe: Recipe, model: Any, ids: torch.Tensor, on_pass: OnPass
) -> tuple[torch.Tensor, Any]:
    """trl's DPOTrainer: the model, then what it is held against."""
    mask = torch.ones_like(ids)
    on_pass("forward")
    ours = _log_probs(model, ids, mask).sum(1)
    theirs = _reference(recipe, model, ids, mask, on_pass)
    return -nn.functional.logsigmoid(ours - theirs).mean(), None


def _of_judged(
    recipe: Recipe, model: Any, ids: torch.Tensor, on_pass: OnPass
) -> tuple[torch.Tensor, Any]:
    """trl's KTOTrainer: other rows' answers without gradients, the model, and both of the base."""
    mask = torch.ones_like(ids)
    on_pass("ahead")
    with torch.no_grad():
        _log_probs(model, ids, mask).sum(1)
    on_pass("forward")
    ours = _log_probs(model, ids, mask).sum(1)
    theirs = _reference(recipe, model, ids, mask, on_pass)
    return 1 - torch.sigmoid(ours - theirs).mean(), None


_LOSSES: dict[str, Callable[..., tuple[torch.Tensor, Any]]] = {
    "sft": _of_rows,
    "classification": _of_labels,
    "dpo": _of_pairs,
    "kto": _of_judged,
}


def _reference(
    recipe: Recipe, model: Any, ids: torch.Tensor, mask: torch.Tensor, on_pass: OnPass
) -> torch.Tensor:
    on_pass("behind")
    # A copy of the adapter does what the adapter does.
    off = recipe.held_against == "base" and recipe.lora is not None
    with torch.no_grad(), model.disable_adapter() if off else contextlib.nullcontext():
        found = _log_probs(model, ids, mask).sum(1)
    if recipe.lora is not None:
        freeze(model, recipe.variant)
    return found


def _log_probs(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor | None,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    more = {} if places is None else {"position_ids": places}
    found: torch.Tensor = model(
        input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True, **more
    ).log_probs
    return found


def _backbone(recipe: Recipe, model: Any) -> nn.Module:
    base = model.get_base_model() if recipe.lora is not None else model
    backbone: nn.Module = base.base_model
    return backbone


def _becomes_loss(storages: Storages) -> Callable[..., None]:
    """From here to the end of a pass it is the loss; on the way back until the gradient has come
    here."""

    def behind(module: nn.Module, given: Any, output: Any) -> None:
        storages.kind = "loss"
        hidden = output[0]
        if hidden.requires_grad:
            hidden.register_hook(lambda grad: setattr(storages, "kind", "workspace"))

    return behind
