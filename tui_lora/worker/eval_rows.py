"""The rows of a session that an evaluation measures: those of its training, and those held out.

Read, chosen, tokenized, masked and cut by what did so in training; only a sample of them, drawn by
seed, and never packed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.evaluation import Part
from tui_lora.core.formats import Example, Reading
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean
from tui_lora.store.sources import Source, sources_of
from tui_lora.worker.examples import Gathered, gather
from tui_lora.worker.feeding import Feeder
from tui_lora.worker.judged import answers_in
from tui_lora.worker.left_out import LeftOut
from tui_lora.worker.spool import Chosen, Place
from tui_lora.worker.tables import rows_of
from tui_lora.worker.tokenized import Refused, guarded, refused, shaped

BEGIN_CHARS = 200


@dataclass(frozen=True)
class Item:
    """A row as the model is fed it. `tokens` are those that the loss counts, `cut` those that it
    would count beyond max length; `row` is the feeder's. `example` is what it was made of."""

    part: Part
    at: int
    place: Place
    row: dict[str, Any]
    tokens: int
    cut: int
    length: int
    begin: str
    example: Example = field(repr=False)


@dataclass(frozen=True)
class Rows:
    """The rows of a part. `of` there are, of which some were drawn (of plain text so many passages
    in the drawn rows); `left_out` of the drawn could not be fed."""

    part: Part
    source: str
    reading: Reading
    items: tuple[Item, ...]
    of: int
    left_out: int
    why_left_out: str
    feeder: Feeder | None


@dataclass(frozen=True)
class Found:
    """The rows of a session, read. `held_out` are None where the run held none out, and those of a
    file where one was given; `held_out_sources` is where they stand."""

    gathered: Gathered
    held_out: Chosen | None
    held_out_source: str
    held_out_reading: Reading
    held_out_sources: tuple[Source, ...]
    fingerprint: str

    def part(self, part: Part) -> tuple[Chosen | None, Reading, str]:
        if part == "eval":
            return self.held_out, self.held_out_reading, self.held_out_source
        name, reading = self.gathered.readings[0]
        return self.gathered.train, reading, f"trained rows of {name}"


def find_rows(
    spec: RunSpec, folder: Path, data: str | None, on_rows: Callable[[int], None]
) -> Found:
    """Read the rows of `spec` into `folder`, and those of the file `data` in place of the held-out
    ones. Raises UserError."""
    train, held = sources_of(spec.dataset, "train"), sources_of(spec.dataset, "held_out")
    sources = [source for source, _ in held]
    gathered = _gathered(spec, folder / "session", train, sources, on_rows)
    if data is not None:
        return _given(spec, folder, data, gathered, on_rows)
    name, reading = gathered.readings[-1 if held else 0]
    where = f"held out of {name} by seed {spec.training.seed}"
    if held:
        where = f"held-out {'file' if spec.dataset.eval_path else 'split'} {name}"
    return Found(
        gathered,
        gathered.held_out,
        where,
        reading,
        tuple(sources or [train[0][0]]),
        gathered.fingerprint,
    )


def _given(
    spec: RunSpec,
    folder: Path,
    data: str,
    gathered: Gathered,
    on_rows: Callable[[int], None],
) -> Found:
    """The rows of the file in place of those that were held out."""
    given = _of_file(spec, data)
    sources = sources_of(given.dataset, "train")
    try:
        found = _gathered(given, folder / "given", sources, [], on_rows)
    except UserError as error:
        if error.where != "dataset.format":
            raise
        # It need not look like the dataset.
        plain = given.dataset.model_copy(update={"format": "auto", "columns": {}})
        given = given.model_copy(update={"dataset": plain})
        found = _gathered(given, folder / "found", sources, [], on_rows)
    if found.reading.shape != gathered.reading.shape:
        raise UserError(
            f"{clean(data)} is {found.reading.title}, and the run learned from "
            f"{gathered.reading.title}.",
            where="--data",
        )
    return Found(
        gathered,
        found.train,
        clean(data),
        found.reading,
        tuple(source for source, _ in sources),
        gathered.fingerprint + found.fingerprint,
    )


def _of_file(spec: RunSpec, data: str) -> RunSpec:
    """The spec of a run that would be trained on all of the file."""
    changed = {
        "path": data,
        "mix": (),
        "max_rows": None,
        "eval_path": None,
        "eval_split": None,
        "eval_share": 0.0,
        "split": None,
        "subset": None,
        "revision": None,
    }
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update=changed)})


def _gathered(
    spec: RunSpec,
    folder: Path,
    train: list[tuple[Source, float]],
    held_out: list[Source],
    on_rows: Callable[[int], None],
) -> Gathered:
    folder.mkdir(parents=True)
    left_out = LeftOut(folder / "left-out.jsonl")
    try:
        return gather(spec, train, held_out, folder, left_out, on_rows, lambda *_: None)
    finally:
        left_out.close()


def drawn(total: int, most: int | None, seed: int) -> list[int]:
    """Which of so many rows are measured, in the order in which they are: drawn, so that the first
    so many are a sample too."""
    rows = total if most is None else min(most, total)
    return random.Random(seed).sample(range(total), rows)  # noqa: S311 (a draw, no secret)


def picked(chosen: Chosen, numbers: Sequence[int]) -> list[tuple[Place, Example]]:
    """The rows of these numbers, in the order of the numbers."""
    wanted = set(numbers)
    found = {at: one for at, one in enumerate(chosen) if at in wanted}
    return [(found[at].place, found[at].example) for at in numbers]


def rows_to_measure(
    part: Part,
    spec: RunSpec,
    tokenizer: Any,
    chosen: Chosen,
    reading: Reading,
    source: str,
    *,
    labels: Sequence[str],
    most: int | None,
    seed: int,
) -> Rows:
    """The rows of a part, at most `most` of them. Raises UserError.

    `labels` are those of the trained head; rows with another are left out.
    """
    found = picked(chosen, drawn(len(chosen), most, seed))
    shape = reading.shape
    if spec.task == "kto":
        shape = "judged"
        found = [(place, answer) for place, one in found for answer in answers_in(one)]
    training = spec.training.model_copy(update={"packing": False})
    feeder = Feeder(spec.model_copy(update={"training": training}), tokenizer, shape, labels)
    left_out, why = 0, ""
    if labels:
        known = [one for one in found if one[1]["label"] in labels]
        if len(known) < len(found):
            left_out, why = len(found) - len(known), "they have labels that were not trained"
        found = known
    bad = _refused(feeder, [example for _, example in found])
    if bad:
        left_out, why = left_out + len(bad), next(iter(bad.values()))
    kept = [one for at, one in enumerate(found) if at not in bad]
    items, of = _items(part, feeder, kept, most, seed)
    empty = sum(not item.tokens for item in items)
    lost = len({item.at for item in items if not item.tokens}) if shape != "text" else empty
    if lost:
        length = spec.training.max_length
        left_out, why = left_out + lost, f"nothing is trained before max length ({length:,})"
    # Numbered anew: the same rows have the same numbers each time that they are drawn.
    measured = tuple(item for item in items if item.tokens)
    of = of if shape == "text" else len(chosen)
    return Rows(part, source, reading, measured, of, left_out, why, feeder)


def _refused(feeder: Feeder, examples: list[Example]) -> dict[int, str]:
    try:
        for _ in guarded(lambda: feeder.tokenized(lambda: shaped(feeder, examples), "eval")):
            pass
    except Refused:
        return refused(feeder, examples)
    return {}


def _items(
    part: Part,
    feeder: Feeder,
    found: list[tuple[Place, Example]],
    most: int | None,
    seed: int,
) -> tuple[list[Item], int]:
    """What the feeder makes of the rows, and of how many. Plain text becomes passages: a row may
    be a book, so that of these too only some are drawn."""
    fed = list(shaped(feeder, [example for _, example in found]))
    of = len(fed)
    if feeder.shape == "text":
        fed = [fed[at] for at in drawn(of, most, seed)]
    origins = [example["at"] for example in fed]
    numbered = [{**example, "at": at} for at, example in enumerate(fed)]
    if not numbered:
        return [], of
    whole = {row["at"]: row for row in feeder.tokenized(lambda: numbered, "eval")}
    kept = {row["at"]: row for row in feeder.cut(lambda: list(whole.values()), "eval")}
    items = []
    for at, row in whole.items():
        place, example = found[origins[at]]
        tokens, all_, length = _tokens(feeder, row, kept.get(at), example)
        begin = _beginning(feeder, example, row)
        made = Item(
            part, at, place, kept.get(at, row), tokens, all_ - tokens, length, begin, example
        )
        items.append(made)
    return items, of


def _tokens(
    feeder: Feeder, row: dict[str, Any], kept: dict[str, Any] | None, example: Example
) -> tuple[int, int, int]:
    """How many tokens the loss counts with the cut and without it, and how many are fed.

    The first token of a sequence is never predicted. Of a pair both answers count; a class is
    learned from a row as a whole, which is one.
    """
    most = feeder.spec.training.max_length
    if feeder.spec.task == "classification":
        # What is cut off is no token that is learned.
        return 1, 1, len(row["input_ids"])
    if feeder.spec.task == "sft":
        counted = _counted(kept["labels"]) if kept is not None else 0
        return counted, _counted(row["labels"]), min(most, len(row["input_ids"]))
    prompt = len(row["prompt_ids"])
    answers = [
        len(row[name]) for name in ("chosen_ids", "rejected_ids", "completion_ids") if name in row
    ]
    kept_of = [max(0, min(most, prompt + answer) - max(1, prompt)) for answer in answers]
    whole = sum(answer - (prompt == 0) for answer in answers)
    if not all(kept_of):
        return 0, whole, most
    return sum(kept_of), whole, min(most, prompt + max(answers))


def _counted(labels: list[int]) -> int:
    return sum(label != -100 for label in labels[1:])


def _beginning(feeder: Feeder, example: Example, row: dict[str, Any]) -> str:
    if feeder.shape == "text":
        text = feeder.tokenizer.decode(row["input_ids"][:BEGIN_CHARS], skip_special_tokens=True)
    else:
        text = question_in(example)
    return clean(text, max_chars=BEGIN_CHARS)


def question_in(example: Example) -> str:
    """The last turn of the user, or the text that is sorted."""
    if "prompt" not in example:
        return str(example.get("text", ""))
    users = [turn for turn in example["prompt"] if turn.get("role") == "user"]
    return str((users or example["prompt"])[-1].get("content") or "") if example["prompt"] else ""


def reference_in(example: Example) -> str | None:
    """The answer that a row has; None where it has none to compare with (one that is judged bad,
    plain text)."""
    if example.get("label") is False:
        return None
    answer = example.get("completion") or example.get("chosen")
    return str(answer[-1].get("content") or "") if answer else None


def raw_rows(
    sources: Sequence[Source], places: Collection[tuple[str, int]]
) -> dict[tuple[str, int], Any]:
    """The rows as they stand in their files, by file and line."""
    found: dict[tuple[str, int], Any] = {}
    for source in sources:
        for row in rows_of(source):
            if (row.file, row.line) in places:
                found.setdefault((row.file, row.line), row.value)
    return found
