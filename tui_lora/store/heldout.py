"""Questions that a run was never trained on, found again from its spec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pydantic import ValidationError

from tui_lora.core.chat import Turn
from tui_lora.core.examples import example
from tui_lora.core.formats import Example, Reading, Shape
from tui_lora.core.rows import BadRow
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean
from tui_lora.store.dataset import LOOK_ROWS, decided, held_out_rows
from tui_lora.store.sources import Part, Row, Source, open_source, rows_of

WHOLE_BYTES = 64 << 20
"""A larger dataset is not read whole only to find out which of its rows were held out."""

_WHOLE_ROWS = 50_000
_BEGINNING_CHARS = 400


@dataclass(frozen=True)
class Question:
    """`turns` as the model is given them; `text` is the last of them, `reference` the answer (or
    label, or what follows) that the dataset has; empty where it has none. `shape` says which."""

    text: str
    turns: tuple[Turn, ...]
    reference: str
    shape: Shape = "chat"


@dataclass(frozen=True)
class HeldOut:
    """The questions, and in words where they are from or why there are none."""

    questions: tuple[Question, ...]
    source: str


Read = Callable[[Source], Iterator[Row]]


def held_out(spec: RunSpec, limit: int, read: Read = rows_of) -> HeldOut:
    """Up to `limit` held-out questions. Raises UserError when the dataset cannot be read.

    `read` gives the rows of a source; the one of here does not read the Hub's nor Parquet.

    From the held-out file or split if there is one; else the share that the worker drew by seed,
    drawn again. Where that is too much to read, the first rows of the dataset, named as such.
    """
    data = spec.dataset
    given = data.eval_path is not None or data.eval_split is not None
    part: Part = "held_out" if given else "train"
    source = open_source(data, part)
    name = source.name
    if source.kind != "rows" and read is rows_of:
        what = "a Hub dataset" if source.kind == "hub" else "Parquet"
        return HeldOut((), f"{name} is {what}, whose rows are not read here; type a question")
    if given:
        kind = "file" if data.eval_path is not None else "split"
        limit = min(limit, data.eval_rows or limit)
        return HeldOut(_first(_examples(source, spec, read), limit), f"held-out {kind} {name}")
    few = data.max_rows is not None and data.max_rows <= _WHOLE_ROWS
    small = source.kind == "rows" and (source.size_bytes or 0) <= WHOLE_BYTES
    if data.eval_share > 0 and (few or small):
        usable = sum(1 for _ in islice(_examples(source, spec, read), data.max_rows))
        chosen = held_out_rows(usable, data.eval_share, spec.training.seed)
        if chosen:
            kept = (e for at, e in enumerate(_examples(source, spec, read)) if at in chosen)
            return HeldOut(_first(kept, limit), f"held out of {name} by seed {spec.training.seed}")
    return HeldOut(
        _first(_examples(source, spec, read), limit), f"rows of {name} (may have been trained on)"
    )


def read_elsewhere(spec: RunSpec) -> bool:
    """Whether only a worker can read the rows that questions are taken from. Raises UserError."""
    data = spec.dataset
    given = data.eval_path is not None or data.eval_split is not None
    return open_source(data, "held_out" if given else "train").kind != "rows"


def _examples(source: Source, spec: RunSpec, read: Read) -> Iterator[tuple[Example, Reading]]:
    """The rows that training takes, in order."""
    rows = read(source)
    first = list(islice(rows, LOOK_ROWS))
    reading, _ = decided(first, spec.dataset, spec.task, mixed=source.path != spec.dataset.path)
    if reading is None:
        return
    for row in _both(first, rows):
        if row.problem:
            continue
        try:
            yield example(row.value, reading), reading
        except BadRow:
            continue


def _both(first: list[Row], rest: Iterable[Row]) -> Iterator[Row]:
    yield from first
    yield from rest


def _first(examples: Iterable[tuple[Example, Reading]], limit: int) -> tuple[Question, ...]:
    questions = (_question(found, reading) for found, reading in examples)
    return tuple(islice((q for q in questions if q is not None and q.text), limit))


def _question(found: Example, reading: Reading) -> Question | None:
    """What to ask of an example; None where it holds what a chat has no turn for, such as tools."""
    if reading.shape == "labelled":
        return _of_text(found["text"], found["label"], reading.shape)
    if reading.shape == "text":
        begin, rest = _beginning(found["text"])
        return _of_text(begin, rest, reading.shape)
    try:
        turns = tuple(Turn(role=t["role"], content=t["content"]) for t in found["prompt"])
    except ValidationError:
        return None
    asked = next((t.content for t in reversed(turns) if t.role == "user"), "")
    if reading.shape == "judged":
        answer = found["completion"] if found["label"] else None
    else:
        answer = found["chosen" if reading.shape == "preference" else "completion"]
    told = clean(answer[-1]["content"]) if answer else ""
    return Question(clean(asked), turns, told, reading.shape)


def _of_text(text: str, reference: str, shape: Shape) -> Question:
    return Question(clean(text), (Turn(role="user", content=text),), clean(reference), shape)


def _beginning(text: str) -> tuple[str, str]:
    """A text cut in two at a word, for a model to carry on; at most the first half is given."""
    text = text.strip()
    most = min(_BEGINNING_CHARS, max(1, len(text) // 2))
    at = text.rfind(" ", 0, most + 1)
    at = at if at > 0 else most
    return text[:at], text[at : at + 2 * _BEGINNING_CHARS].strip()
