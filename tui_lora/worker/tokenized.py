"""Examples as token ids on disk, made by the trainer's own code, and what there is to count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from datasets import Features, List, Value
from datasets.arrow_writer import ArrowWriter

from tui_lora.core.errors import UserError
from tui_lora.core.formats import Example
from tui_lora.core.text import one_line
from tui_lora.worker.feeding import Feeder, learned_in
from tui_lora.worker.judged import Rows
from tui_lora.worker.passages import Passages

Row = dict[str, Any]
OnRows = Callable[[int], None]

_AT_ONCE = 64
_TRIED_AT_ONCE = 256


@dataclass
class Counts:
    """What there was to count: `read` are examples so far, `rows` were written.

    `cut` examples are longer than max length. `ended`: somewhere the end of a turn is trained;
    `could_end`: it would be without the cut. `learned[n]`: something is learned of example n.
    """

    read: int = 0
    rows: int = 0
    cut: int = 0
    tokens: int = 0
    trained: int = 0
    ended: bool = False
    could_end: bool = False
    learned: bytearray = field(default_factory=bytearray)


class Refused(Exception):
    """The template or the tokenizer cannot take a row; the message is theirs."""


def shaped(feeder: Feeder, examples: Iterable[Example]) -> Iterator[Example]:
    """Examples as the trainer takes them, numbered: plain text is passages of tokens by now."""
    passages = Passages(
        feeder.tokenizer, feeder.spec.training.max_length, feeder.spec.dataset.overlap
    )
    for at, example in enumerate(examples):
        if feeder.shape != "text":
            yield {**example, "at": at}
            continue
        for ids in passages.cut(example["text"], last=example.get("last", True)):
            yield {"input_ids": ids, "at": at}


def refused(feeder: Feeder, examples: Iterable[Example]) -> dict[int, str]:
    """The numbers of those that the template or the tokenizer cannot take, and why."""
    found: dict[int, str] = {}
    numbered = enumerate(examples)
    while some := list(islice(numbered, _TRIED_AT_ONCE)):
        _find_refused(feeder, some, found)
    return found


def _find_refused(feeder: Feeder, some: list[tuple[int, Example]], found: dict[int, str]) -> None:
    """Try them all at once, and each half by itself where that fails."""
    try:
        examples = [example for _, example in some]
        for _ in guarded(lambda: feeder.tokenized(lambda: shaped(feeder, examples))):
            pass
    except Refused as error:
        if len(some) == 1:
            found[some[0][0]] = str(error)
            return
        half = len(some) // 2
        _find_refused(feeder, some[:half], found)
        _find_refused(feeder, some[half:], found)


def write(
    feeder: Feeder,
    chosen: Rows,
    part: str,
    path: Path,
    *,
    without: Iterable[int],
    ends: frozenset[int],
    on_rows: OnRows,
) -> Counts:
    """Write `path`, an Arrow file for `Dataset.from_file`; no row, no file.

    `without`: the numbers of examples to leave out; `ends`: the ids that end a turn. Raises
    Refused, OSError and what `on_rows` does.
    """
    left_out, counts = frozenset(without), Counts()
    packing = feeder.config.packing if feeder.spec.task == "sft" and part == "train" else False

    def examples() -> Iterator[Example]:
        for example in shaped(feeder, (found.example for found in chosen)):
            if example["at"] not in left_out:
                yield example

    def whole() -> Iterator[Row]:
        # Trainers look at the first rows beforehand: what counts is the last beginning.
        counts.cut, counts.could_end, counts.learned = 0, False, bytearray(len(chosen))
        for row in feeder.tokenized(examples, part):
            _count_whole(counts, row, feeder.spec.training.max_length, ends)
            if packing:
                # A packed row is no row any more, so this is seen before.
                kept = row["labels"][: feeder.spec.training.max_length]
                counts.learned[row["at"]] |= kept.count(-100) < len(kept)
            counts.read = max(counts.read, row["at"] + 1)
            yield row

    writer: ArrowWriter | None = None
    try:
        rows = guarded(lambda: feeder.cut(whole, part))
        while some := list(islice(rows, _AT_ONCE)):
            names = feeder.columns(some[0])
            writer = writer or ArrowWriter(features=_features(some[0], names), path=str(path))
            for row in some if not packing else ():
                counts.learned[row["at"]] = 1
            some = [{name: row[name] for name in names} for row in some]
            _count_fed(counts, feeder.collated(some), ends)
            for row in some:
                writer.write(row)
            counts.rows += len(some)
            on_rows(counts.read)
        if writer is not None:
            writer.finalize()
    finally:
        if writer is not None:
            writer.close()
    return counts


def guarded(rows: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """`rows()`, with what foreign code raises as Refused."""
    try:
        yield from rows()
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # templates and tokenizers are foreign code
        raise Refused(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    if "assistant tokens" in str(error):
        return "the template marks no token of it as the assistant's"
    return one_line(str(error), max_chars=300).rstrip(".") or type(error).__name__


def _count_whole(counts: Counts, row: Row, max_length: int, ends: frozenset[int]) -> None:
    """What can only be seen before the cut."""
    if "prompt_ids" in row:
        answers = [
            row[name] for name in ("chosen_ids", "rejected_ids", "completion_ids") if name in row
        ]
        longest = len(row["prompt_ids"]) + max(len(answer) for answer in answers)
        learned = answers
    else:
        longest = len(row["input_ids"])
        learned = [row["labels"]] if isinstance(row["labels"], list) else []
        # A classifier's texts are cut by the tokenizer.
        longest += not learned
    counts.cut += longest > max_length
    if not counts.could_end:
        counts.could_end = any(not ends.isdisjoint(ids) for ids in learned)


def _count_fed(counts: Counts, batch: dict[str, torch.Tensor], ends: frozenset[int]) -> None:
    ids, learned = batch["input_ids"], learned_in(batch)
    real = batch.get("attention_mask")
    counts.tokens += int(real.sum()) if real is not None else ids.numel()
    counts.trained += int(learned.sum())
    if not counts.ended:
        counts.ended = not ends.isdisjoint(ids[learned].tolist())


def _features(row: Row, names: list[str]) -> Features:
    def kind(value: Any) -> Any:
        if isinstance(value, list):
            return List(Value("int32"))
        return Value("bool" if isinstance(value, bool) else "int64")

    return Features({name: kind(row[name]) for name in names})
