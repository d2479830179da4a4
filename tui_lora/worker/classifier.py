"""Texts sorted into labels: transformers' Trainer on a model whose head has a logit a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments, set_seed

from tui_lora.worker.labelling import text_ids


@dataclass
class ClassificationConfig(TrainingArguments):
    """`max_length` in tokens: what goes beyond is cut off at the end."""

    max_length: int = 1024


class ClassificationTrainer(Trainer):
    """Takes rows of `text` and `label` (one of `labels`), as trl's trainers take theirs.

    While it evaluates, `confusion[true][predicted]` counts rows.
    """

    # The model's loss is a mean over the micro-batch. Left to itself transformers takes the loss
    # of any model with **kwargs for one that is divided by the rows of the whole step already.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any,
        args: ClassificationConfig,
        *,
        labels: Sequence[str],
        train_dataset: Dataset,
        processing_class: Any,
        eval_dataset: Dataset | None = None,
        peft_config: LoraConfig | None = None,
        **named: Any,
    ) -> None:
        self.labels = tuple(labels)
        self.confusion = torch.zeros(len(self.labels), len(self.labels), dtype=torch.long)
        # Where a text ends is found by the pad token behind it.
        model.config.get_text_config().pad_token_id = processing_class.pad_token_id
        set_seed(args.seed)
        if peft_config is not None:
            model = get_peft_model(model, peft_config)
            if not (args.bf16 or args.fp16):
                _let_head_keep_its_dtype(model)
            if args.gradient_checkpointing:
                model.enable_input_require_grads()
        prepared = self._prepare_dataset(train_dataset, processing_class, args, "train")
        if eval_dataset is not None:
            eval_dataset = self._prepare_dataset(eval_dataset, processing_class, args, "eval")
        super().__init__(
            model=model,
            args=args,
            train_dataset=prepared,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **named,
        )

    def _prepare_dataset(
        self, dataset: Dataset, processing_class: Any, args: ClassificationConfig, dataset_name: str
    ) -> Dataset:
        """`text` and `label` as `input_ids` and `labels`, cut at max length."""
        number_of = {label: number for number, label in enumerate(self.labels)}

        def tokenized(row: dict[str, Any]) -> dict[str, Any]:
            return {
                "input_ids": text_ids(processing_class, row["text"], args.max_length),
                "labels": number_of[row["label"]],
            }

        return dataset.map(tokenized, remove_columns=["text", "label"])

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        self.confusion.zero_()
        return super().evaluate(*arguments, **named)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        # Without the number of items: the model would hand it on to layers that do not know it.
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if not self.model.training:
            found = outputs.logits.argmax(-1)
            among = len(self.labels)
            pairs = torch.bincount(inputs["labels"] * among + found, minlength=among * among)
            self.confusion += pairs.reshape(among, among).cpu()
        return (loss, outputs) if return_outputs else loss


def _let_head_keep_its_dtype(model: Any) -> None:
    """Give the trained head what it is fed in its own precision: it is float32 on any base, and
    only autocast would see to that."""
    for name, module in model.named_modules():
        if "modules_to_save" in name and isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda head, inputs: tuple(value.to(head.weight.dtype) for value in inputs)
            )


def accuracy_of(confusion: torch.Tensor) -> float:
    """The share of rows that were given their own label."""
    rows = int(confusion.sum())
    return int(confusion.diagonal().sum()) / rows if rows else 0.0


def macro_f1_of(confusion: torch.Tensor) -> float:
    """The mean of the labels' F1; a label that is neither there nor predicted is left out."""
    counts = confusion.double()
    right = counts.diagonal()
    named = counts.sum(0) + counts.sum(1)
    there = named > 0
    return float((2 * right[there] / named[there]).mean()) if there.any() else 0.0
