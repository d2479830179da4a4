"""Rows as the model is fed them: by a stand-in trainer of the run's own class.

What tokenizes, masks, cuts, packs and collates here is what does so in training, set up by the
same config. Only the model is another: a few thousand random weights that nothing ever runs.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from datasets.iterable_dataset import ExamplesIterable
from torch.utils.data import SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from trl import DPOTrainer, KTOTrainer, SFTTrainer

from tui_lora.core.formats import Example, Shape
from tui_lora.core.spec import RunSpec
from tui_lora.worker.arguments import trainer_config
from tui_lora.worker.classifier import ClassificationTrainer
from tui_lora.worker.templates import training_tokenizer

Again = Callable[[], Iterable[Example]]
"""Gives the same rows each time that it is called: trainers look at the first ones beforehand."""

KINDS: dict[str, type] = {
    "sft": SFTTrainer,
    "classification": ClassificationTrainer,
    "dpo": DPOTrainer,
    "kto": KTOTrainer,
}
NO_CUT = 1 << 20
ANY_LABEL = "any"
"""For a few rows of a classification, when not all labels of the dataset are known."""

_LOADERS_KEPT = 500

_TURN = {"role": "user", "content": "?"}
_ANSWER = {"role": "assistant", "content": "!"}
_SAMPLES: dict[Shape, Example] = {
    "chat": {"prompt": [_TURN], "completion": [_ANSWER]},
    "text": {"input_ids": [0]},
    "preference": {"prompt": [_TURN], "chosen": [_ANSWER], "rejected": [_ANSWER]},
    "judged": {"prompt": [_TURN], "completion": [_ANSWER], "label": True},
    "labelled": {"text": "?", "label": ""},
}


@dataclasses.dataclass(frozen=True)
class Fed:
    """One sequence of a batch without its padding; `trained` says of each id whether the loss
    counts it."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]


class Feeder:
    """Feeds examples of one shape as the trainer of `spec` does.

    Text is given to it as `input_ids` (see `passages.py`). An example may have a key `at`, which
    stays with its rows. Raises UserError for settings that the rows do not allow.
    """

    def __init__(
        self, spec: RunSpec, tokenizer: Any, shape: Shape, labels: Sequence[str] = ()
    ) -> None:
        self.spec, self.shape, self.labels = spec, shape, tuple(labels)
        self._given = tokenizer
        on_answers = spec.task == "sft" and spec.dataset.loss_on == "assistant" and shape == "chat"
        self.tokenizer = training_tokenizer(tokenizer) if on_answers else tokenizer
        # A trainer makes its folder, though this one never writes there.
        with tempfile.TemporaryDirectory(prefix="tui-lora-") as scratch:
            self.config: Any = trainer_config(
                spec,
                scratch=Path(scratch),
                device="cpu",
                dtype=torch.float32,
                held_out=False,
                resumed=False,
                shape=shape,
            )[0]
            self._trainer = self._stand_in()
        self._loaders = 0

    @cached_property
    def uncut(self) -> Feeder:
        """The same without max length and packing."""
        training = self.spec.training.model_copy(update={"max_length": NO_CUT, "packing": False})
        spec = self.spec.model_copy(update={"training": training})
        return Feeder(spec, self._given, self.shape, self.labels)

    def tokenized(self, examples: Again, part: str = "train") -> Iterator[dict[str, Any]]:
        """Rows as token ids with what is learned of them, by the trainer's own preparation.

        Of answers (sft) before anything is cut or dropped; of the other tasks as the trainer has
        them. Raises what the chat template raises.
        """
        config = self.config
        if self.spec.task == "sft":
            config = _with_max_length(config, None)
        return iter(self._prepared(examples, config, False, part))

    def cut(self, rows: Again, part: str = "train") -> Iterator[dict[str, Any]]:
        """What `tokenized` gave, cut at max length; sft drops rows that are not learned from any
        more, and packs if it is asked to."""
        if self.spec.task != "sft":
            return iter(rows())
        # What holds out is not packed (`eval_packing`), so that a loss is one row's.
        packing = self.config.packing and part == "train"
        return iter(self._prepared(rows, self.config, packing, part))

    def rows(self, examples: Iterable[Example]) -> list[dict[str, Any]]:
        """A few examples, ready for the data loader; none of none."""
        given = list(examples)
        # trl's trainers ask for a first row before anything else.
        tokenized = list(self.tokenized(_again(given))) if given else []
        return list(self.cut(_again(tokenized))) if tokenized else []

    def columns(self, row: Iterable[str]) -> list[str]:
        """Those of a row's columns that the trainer's data loader reads."""
        self._trainer._set_signature_columns_if_needed()
        return [name for name in self._trainer._signature_columns if name in set(row)]

    def batches(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, torch.Tensor]]:
        """Micro-batches of `rows` from the trainer's own data loader, in their order."""
        if not rows:
            return
        names = self.columns(rows[0])
        self._trainer.train_dataset = Dataset.from_list(
            [{name: row[name] for name in names} for row in rows]
        )
        self._loaders += 1
        if self._loaders % _LOADERS_KEPT == 0:
            # accelerate remembers every loader.
            self._trainer.accelerator.free_memory()
        yield from self._trainer.get_train_dataloader()

    def collated(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`rows` as one batch, by the trainer's collator without its data loader."""
        names = self.columns(rows[0])
        batch: dict[str, torch.Tensor] = self._trainer.data_collator(
            [{name: row[name] for name in names} for row in rows]
        )
        return batch

    def fed(self, rows: Sequence[dict[str, Any]]) -> list[Fed]:
        """The sequences in the batches of `rows`; of a pair the chosen one, then the rejected."""
        return [sequence for batch in self.batches(rows) for sequence in self._in_pairs(batch)]

    def sequences(self, rows: Sequence[dict[str, Any]]) -> list[Fed]:
        """The same without the data loader: several times as fast."""
        return self._in_pairs(self.collated(rows)) if rows else []

    def _in_pairs(self, batch: dict[str, torch.Tensor]) -> list[Fed]:
        found = sequences_in(batch)
        if self.spec.task != "dpo":
            return found
        # All chosen ones come before all rejected ones.
        half = len(found) // 2
        pairs = zip(found[:half], found[half:], strict=True)
        return [sequence for pair in pairs for sequence in pair]

    def _prepared(
        self, examples: Again, config: Any, packing: bool, part: str
    ) -> Iterable[dict[str, Any]]:
        given = (_stream(examples), self.tokenizer, config)
        if self.spec.task == "sft":
            return self._trainer._prepare_dataset(*given, packing, None, part)
        return self._trainer._prepare_dataset(*given, part)

    def _stand_in(self) -> Any:
        kind = KINDS[self.spec.task]

        class StandIn(kind):  # type: ignore[misc, valid-type]
            _built = False

            def _prepare_dataset(self, dataset: Any, *arguments: Any) -> Any:
                # While it is built there is nothing yet to prepare.
                return super()._prepare_dataset(dataset, *arguments) if self._built else dataset

            def _get_train_sampler(self, *_: Any) -> Any:
                # So that it is known which row is which.
                return SequentialSampler(self.train_dataset)

        more: dict[str, Any] = {}
        if self.spec.task == "classification":
            more["labels"] = self.labels
        elif self.spec.task in ("dpo", "kto"):
            more["ref_model"] = _tiny_model(self.tokenizer, 0)
        trainer = StandIn(
            model=_tiny_model(self.tokenizer, len(self.labels)),
            args=self.config,
            train_dataset=Dataset.from_list([_SAMPLES[self.shape]]),
            processing_class=self.tokenizer,
            **more,
        )
        trainer._built = True
        return trainer


def with_any_label(example: Example) -> Example:
    """A classifier's example for a feeder that knows no label but `ANY_LABEL`; others as they
    are."""
    is_class = isinstance(example.get("label"), str)
    return {**example, "label": ANY_LABEL} if is_class else example


def learned_in(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Which positions of a batch the loss counts, as yes or no, in the shape of its ids."""
    if "completion_mask" in batch:
        return batch["completion_mask"].bool()
    if batch["labels"].shape == batch["input_ids"].shape:
        return batch["labels"] != -100
    # A class is learned from the whole of a row, and no token of it.
    return torch.zeros_like(batch["input_ids"], dtype=torch.bool)


def sequences_in(batch: dict[str, torch.Tensor]) -> list[Fed]:
    """What a collated batch holds, without padding; packed rows apart again."""
    ids, learned = batch["input_ids"], learned_in(batch)
    if "attention_mask" in batch:
        real = batch["attention_mask"].bool()
        return [_fed(i[r], t[r]) for i, t, r in zip(ids, learned, real, strict=True)]
    starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), ids.shape[1]]
    return [_fed(ids[0, begin:end], learned[0, begin:end]) for begin, end in pairwise(starts)]


def _fed(ids: torch.Tensor, learned: torch.Tensor) -> Fed:
    return Fed(tuple(ids.tolist()), tuple(learned.tolist()))


def _with_max_length(config: Any, max_length: int | None) -> Any:
    changed = copy(config)
    changed.max_length = max_length
    return changed


def _again(rows: list[Example]) -> Again:
    return lambda: rows


def _stream(examples: Again) -> IterableDataset:
    """Examples for `_prepare_dataset`, one after the other and as they are.

    Not through Arrow, which gives every tool call the arguments of all others, as null.
    """
    return IterableDataset(ExamplesIterable(lambda: enumerate(examples()), {}))


def _tiny_model(tokenizer: Any, labels: int) -> Any:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    if labels:
        config.num_labels = labels
        return LlamaForSequenceClassification(config)
    return LlamaForCausalLM(config)
