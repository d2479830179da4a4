"""A trainer confined to the longest batch of its rows: two steps of it, and nothing saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from tui_lora.core.fit_check import Batch
from tui_lora.worker.longest_first import as_they_stand, fed_lengths, longest
from tui_lora.worker.voice import Voice

STEPS = 2


@dataclass(frozen=True)
class Confined:
    """`batch` is what every micro-batch of every step is; `held_out` the one of the evaluation,
    None where nothing is held out."""

    trainer: Any
    batch: Batch
    held_out: Batch | None

    def train(self, begun: Callable[[], None], taken: Callable[[], None]) -> None:
        """Take the steps; `begun` and `taken` are called before and after each."""
        self.trainer.add_callback(_Steps(begun, taken))
        self.trainer.train()


def confine(trainer: Any) -> Confined:
    """Have a trainer of `worker/trainer.py` take its longest rows alone: those that a run begins
    with, and as many of the held-out ones."""
    args = trainer.args
    numbers = list(islice(trainer._get_train_sampler(), args.per_device_train_batch_size))
    batch = _fed(trainer, trainer.train_dataset, numbers)
    # Of fewer rows than a micro-batch has, each batch is all of them.
    args.per_device_train_batch_size = trainer._train_batch_size = len(numbers)
    rows = trainer.train_dataset.select(numbers * args.gradient_accumulation_steps * STEPS)
    trainer.train_dataset = rows
    trainer._get_train_sampler = lambda *_: SequentialSampler(rows)
    held_out = None
    if trainer.eval_dataset is not None:
        numbers = _longest_held_out(trainer)
        held_out = _fed(trainer, trainer.eval_dataset, numbers)
        trainer.eval_dataset = trainer.eval_dataset.select(numbers)
    args.eval_strategy, args.eval_on_start = IntervalStrategy.NO, False
    args.save_strategy = SaveStrategy.NO
    trainer.remove_callback(Voice)
    return Confined(trainer, batch, held_out)


def _longest_held_out(trainer: Any) -> list[int]:
    many, cut = trainer.args.per_device_eval_batch_size, getattr(trainer.args, "max_length", None)
    lengths = fed_lengths(trainer.eval_dataset, max_length=cut, together=many)
    if trainer.rows_stay:
        return as_they_stand(lengths, first=many, epoch=0)[:many]
    return [int(row) for row in longest(lengths, many)]


def _fed(trainer: Any, rows: Dataset, numbers: Sequence[int]) -> Batch:
    """What the trainer's collator makes of rows."""
    made = trainer.data_collator([rows[number] for number in numbers])
    ids, mask = made["input_ids"], made.get("attention_mask")
    longest_row = ids.shape[-1] if mask is None else int(mask.sum(-1).max())
    return Batch(rows=ids.shape[0], tokens=ids.numel(), longest=longest_row)


class _Steps(TrainerCallback):
    def __init__(self, begun: Callable[[], None], taken: Callable[[], None]) -> None:
        self._begun, self._taken = begun, taken

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._begun()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._taken()
