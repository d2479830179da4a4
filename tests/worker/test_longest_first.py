"""The order of the rows: the longest first, each once an epoch, and the same for a halved batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.task_rows import spec_of
from tests.tiny import make_tokenizer
from tests.workers import tiny_spec
from tui_lora.core.spec import RunSpec

pytestmark = pytest.mark.model

SEED = 42
LENGTHS = np.array([5, 9, 3, 9, 7, 1, 11, 2, 8, 4, 6])
LONGEST = [6, 1, 3, 8]


def test_the_first_epoch_begins_with_the_longest_rows_and_the_rest_is_drawn() -> None:
    from accelerate.data_loader import SeedableRandomSampler

    from tui_lora.worker.longest_first import shuffled

    first, second = (shuffled(LENGTHS, first=4, seed=SEED, epoch=epoch) for epoch in (0, 1))
    assert first[:4] == LONGEST
    assert sorted(first) == sorted(second) == list(range(len(LENGTHS)))
    for epoch, order in enumerate((first, second)):
        drawn = SeedableRandomSampler(range(len(LENGTHS)), data_seed=SEED)
        drawn.set_epoch(epoch)
        moved = set(LONGEST) if epoch == 0 else set()
        rest = order[len(moved) :]
        assert rest == [row for row in drawn if row not in moved]
        assert rest != sorted(rest)
    assert shuffled(LENGTHS, first=4, seed=SEED + 7, epoch=0)[4:] != first[4:]
    assert shuffled(LENGTHS[:2], first=4, seed=SEED, epoch=0) == [1, 0]


def test_rows_that_stay_together_come_as_they_stand_after_the_longest_batch() -> None:
    from tui_lora.worker.longest_first import as_they_stand

    lengths = np.array([1, 1, 1, 2, 9, 1, 1, 1, 99])
    assert as_they_stand(lengths, first=4, epoch=0) == [4, 5, 6, 7, 0, 1, 2, 3, 8]
    assert as_they_stand(lengths, first=4, epoch=1) == list(range(9))
    # The last batch is no whole one: moved, it would shift all others.
    assert as_they_stand(lengths, first=10, epoch=0) == list(range(9))


def loader_of(size: int, *, in_place: bool = False) -> Any:
    """As the trainer makes it, with micro-batches of `size` where 4 were asked for at first."""
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

    from tui_lora.worker.longest_first import LongestFirst

    sampler = LongestFirst(LENGTHS, first=4, seed=SEED, in_place=in_place)
    rows = list(range(len(LENGTHS)))
    return Accelerator(cpu=True).prepare(
        DataLoader(rows, batch_size=size, sampler=sampler, collate_fn=list)  # type: ignore[arg-type]
    )


def fed(loader: Any, accumulation: int, *, steps: int, after: int = 0) -> Iterator[list[int]]:
    """The rows of each optimizer step, in the way of transformers' training loop; `after` steps of
    an earlier attempt."""
    from accelerate import skip_first_batches

    in_epoch = -(-len(loader) // accumulation)
    begun, done = divmod(after, in_epoch)
    for epoch in range(begun, -(-steps // in_epoch)):
        skipped = done * accumulation if epoch == begun else 0
        batches = skip_first_batches(loader, skipped) if skipped else loader
        batches.set_epoch(epoch)
        found = list(batches)
        for at in range(0, len(found), accumulation):
            yield [row for batch in found[at : at + accumulation] for row in batch]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_step_keeps_its_rows_when_the_micro_batch_is_halved(after: int, in_place: bool) -> None:
    """And when a run goes on in the middle of an epoch: two steps make one."""
    whole = list(fed(loader_of(4, in_place=in_place), 2, steps=4))
    assert [len(rows) for rows in whole] == [8, 3, 8, 3]
    assert sorted(whole[2] + whole[3]) == list(range(len(LENGTHS)))
    assert whole[0] != whole[2]
    for size, accumulation in ((4, 2), (2, 4), (1, 8)):
        loader = loader_of(size, in_place=in_place)
        assert list(fed(loader, accumulation, steps=4, after=after)) == whole[after:]


def prepared(spec: RunSpec, folder: Path) -> Any:
    from tui_lora.worker.data import prepare

    return prepare(
        spec,
        make_tokenizer(),
        say=lambda text, level="info": None,
        progress=lambda done, total, unit: None,
        left_out_file=folder / "left-out.jsonl",
    ).train


@pytest.mark.parametrize("task", ["sft", "packed", "classification", "dpo", "kto"])
def test_lengths_are_those_of_what_is_fed(
    task: str, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """By the trainer's own collator, a row (or KTO's batch of them) at a time."""
    from tui_lora.worker.feeding import Feeder
    from tui_lora.worker.longest_first import fed_lengths

    if task in ("sft", "packed"):
        packed = {"training__packing": True, "training__max_length": 80}
        spec = tiny_spec(tiny_model, rows, **(packed if task == "packed" else {}))
    else:
        spec = spec_of(task, tiny_model, tmp_path, training__max_length=32)
    found = prepared(spec, tmp_path)
    together = spec.training.micro_batch
    lengths = fed_lengths(found, max_length=spec.training.max_length, together=together)
    labels = ("[matrix]", "bits", "turns") if task == "classification" else ()
    shapes = {"dpo": "preference", "kto": "judged", "classification": "labelled"}
    feeder = Feeder(spec, make_tokenizer(), shapes.get(task, "chat"), labels)  # type: ignore[arg-type]
    widths = []
    for row in found:
        batch = feeder.collated([row])
        widths.append(max(ids.shape[1] for name, ids in batch.items() if "input_ids" in name))
    assert lengths.tolist() == widths
    assert len(set(widths)) > 1


def test_kto_counts_the_answer_that_stands_beside_a_prompt() -> None:
    from datasets import Dataset

    from tui_lora.worker.longest_first import fed_lengths

    answers = [1, 9, 2, 3, 4]
    rows = Dataset.from_dict(
        {"prompt_ids": [[0]] * 5, "completion_ids": [[0] * many for many in answers]}
    )
    # Beside each prompt the answer before it in its batch of three, or the batch's last.
    beside = [2, 1, 9, 4, 3]
    wanted = [1 + max(pair) for pair in zip(answers, beside, strict=True)]
    assert fed_lengths(rows, max_length=None, together=3).tolist() == wanted


def test_many_rows_are_counted_and_drawn_in_no_time() -> None:
    import pyarrow as pa
    from datasets import Dataset

    from tui_lora.worker.longest_first import fed_lengths, shuffled

    many = 150_000
    ends = np.cumsum(np.arange(many) % 700)
    ids = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], ends]), pa.int32()), pa.nulls(int(ends[-1]), pa.int8())
    )
    rows = Dataset(pa.table({"input_ids": ids}))
    began = time.process_time()
    lengths = fed_lengths(rows, max_length=None, together=1)
    order = shuffled(lengths, first=8, seed=SEED, epoch=0)
    assert time.process_time() - began < 2
    assert [lengths[row] for row in order[:8]] == [699] * 8
