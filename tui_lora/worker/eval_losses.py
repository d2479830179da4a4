"""The loss of rows with the adapter off and on: one forward pass each, summed row by row."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from torch.nn.functional import cross_entropy

from tui_lora.worker.eval_rows import Item
from tui_lora.worker.feeding import Feeder, learned_in
from tui_lora.worker.oom import is_out_of_memory

Side = Literal["base", "tuned"]
SIDES: tuple[Side, ...] = ("base", "tuned")
ADAPTER = "tuned"

LOGITS_GIB = 0.5
"""What the logits of a batch may take, in the base's precision."""

MOST_ROWS = 16
_WINDOW = 8
_COLUMNS = 256

T = TypeVar("T")
Sums = list[float]
"""Of a row: its loss and its tokens. Of a pair the chosen answer's, then the rejected one's; of a
classifier's row the number of the label that it predicts behind them."""


def as_side(model: Any, side: Side) -> AbstractContextManager[None]:
    """A context in which the model is the base, or the tuned one."""
    if side == "base":
        context: AbstractContextManager[None] = model.disable_adapter()
        return context
    return nullcontext()


def losses(
    model: Any, feeder: Feeder | None, items: Sequence[Item], side: Side, pad: int
) -> list[Sums]:
    """The sums of each row. Without a feeder the rows are plain tokens, all of which count."""
    rows = [item.row for item in items]
    batch = feeder.collated(rows) if feeder is not None else _padded(rows, pad)
    batch = {name: value.to(model.device) for name, value in batch.items()}
    inputs = {
        name: batch[name]
        for name in ("input_ids", "attention_mask", "token_type_ids")
        if name in batch
    }
    with torch.inference_mode(), as_side(model, side):
        if feeder is not None and feeder.spec.task == "classification":
            return _class_losses(model, inputs, batch["labels"])
        labels = batch["input_ids"].masked_fill(~learned_in(batch), -100)
        found = _token_losses(model, inputs, labels)
    if feeder is not None and feeder.spec.task == "dpo":
        # All chosen ones come before all rejected ones.
        half = len(found) // 2
        return [
            chosen + rejected for chosen, rejected in zip(found[:half], found[half:], strict=True)
        ]
    return found


def _token_losses(model: Any, inputs: dict[str, Any], labels: torch.Tensor) -> list[Sums]:
    targets = labels[:, 1:]
    counted = targets != -100
    # Only where a token is predicted that counts in some row: a vocabulary is wide.
    places = counted.any(0).nonzero().flatten()
    inner = model.get_base_model()
    keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters
    more = {"logits_to_keep": places} if keeps else {}
    logits = model(**inputs, **more, **_no_cache(inner)).logits
    if not keeps:
        logits = logits[:, places]
    targets = targets[:, places]
    sums = torch.zeros(len(targets), dtype=torch.float64, device=targets.device)
    for begin in range(0, targets.shape[1], _COLUMNS):
        columns = slice(begin, begin + _COLUMNS)
        found = cross_entropy(
            logits[:, columns].float().transpose(1, 2),
            targets[:, columns],
            ignore_index=-100,
            reduction="none",
        )
        sums += found.double().sum(1)
    return [
        list(pair) for pair in zip(sums.tolist(), counted.sum(1).double().tolist(), strict=True)
    ]


def _class_losses(model: Any, inputs: dict[str, Any], labels: torch.Tensor) -> list[Sums]:
    logits = model(**inputs).logits.float()
    found = cross_entropy(logits, labels, reduction="none")
    best = logits.argmax(-1)
    return [
        [loss, 1.0, float(label)] for loss, label in zip(found.tolist(), best.tolist(), strict=True)
    ]


def _no_cache(inner: Any) -> dict[str, bool]:
    named = inspect.signature(inner.forward).parameters
    return {"use_cache": False} if "use_cache" in named else {}


def _padded(rows: Sequence[dict[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[number, :length] = torch.tensor(row["input_ids"])
        mask[number, :length] = 1
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill(mask == 0, -100),
    }


def rows_at_once(items: Sequence[Item], vocabulary: int, number: int, each: int = 1) -> int:
    """How many rows' logits fit into what they may take; `number` bytes a logit, `each` sequences a
    row."""
    widest = max((item.length for item in items), default=1)
    row = each * widest * vocabulary * number
    return max(1, min(MOST_ROWS, int(LOGITS_GIB * 2**30 / row)))


class Batches:
    """Hands out rows batch by batch, in their order but for a few at a time of a like length; half
    as many from then on where memory runs out."""

    def __init__(self, size: int, on_smaller: Callable[[int], None]) -> None:
        self.size = size
        self._on_smaller = on_smaller

    def of(
        self,
        rows: Sequence[T],
        length: Callable[[T], int],
        work: Callable[[list[T]], list[Any]],
    ) -> Iterator[list[tuple[T, Any]]]:
        """Each batch with what `work` made of its rows. Raises what `work` does; where memory runs
        out for one row, that too."""
        at = 0
        while at < len(rows):
            window = sorted(rows[at : at + _WINDOW * self.size], key=length, reverse=True)
            at += len(window)
            while window:
                some, made = window[: self.size], None
                try:
                    made = work(some)
                except Exception as error:
                    if self.size == 1 or not is_out_of_memory(error):
                        raise
                if made is None:
                    # Here, not in the handler: the exception's frames hold what filled the memory.
                    self._halve()
                    continue
                window = window[len(some) :]
                yield list(zip(some, made, strict=True))

    def _halve(self) -> None:
        self.size = max(1, self.size // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._on_smaller(self.size)
