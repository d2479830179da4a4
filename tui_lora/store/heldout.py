"""Questions that a run was never trained on, found again from its spec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tui_lora.core.chat import Turn
from tui_lora.core.rows import BadRow, as_prompt_completion, detect_format
from tui_lora.core.spec import DatasetSpec, RunSpec
from tui_lora.core.text import clean
from tui_lora.store.dataset import Row, check_file, held_out_rows, rows_in
from tui_lora.store.journal import last_lines

WHOLE_BYTES = 64 << 20
"""A larger dataset is not read whole only to find out which of its rows were held out."""

_TAIL_BYTES = 1 << 22
_LOOK_ROWS = 100


@dataclass(frozen=True)
class Question:
    """`turns` as the model is given them; `text` is the last of them, `reference` the answer that
    the dataset has."""

    text: str
    turns: tuple[Turn, ...]
    reference: str


@dataclass(frozen=True)
class HeldOut:
    """The questions, and in words where they are from."""

    questions: tuple[Question, ...]
    source: str


def held_out(spec: RunSpec, limit: int) -> HeldOut:
    """Up to `limit` held-out questions. Raises UserError when the dataset cannot be read.

    From the held-out file if there is one; else the share that the worker drew by seed, drawn
    again. Where that cannot be told, the last rows of the dataset, named as such.
    """
    data = spec.dataset
    if data.eval_path is not None:
        file = check_file(data.eval_path, field="dataset.eval_path")
        found = _questions(list(islice(rows_in(file), limit + _LOOK_ROWS)), data)
        return HeldOut(_askable(found, limit), f"held-out file {clean(data.eval_path)}")
    file = check_file(data.path)
    name = clean(data.path)
    if data.eval_share > 0 and file.stat().st_size <= WHOLE_BYTES:
        usable = _questions(list(rows_in(file)), data)[: data.max_rows]
        chosen = held_out_rows(len(usable), data.eval_share, spec.training.seed)
        if chosen:
            questions = _askable((usable[at] for at in sorted(chosen)), limit)
            return HeldOut(questions, f"held out of {name} by seed {spec.training.seed}")
    found = _questions(_last_rows(file, limit), data)
    return HeldOut(_askable(found[-limit:], limit), f"rows of {name} (may have been trained on)")


def _questions(rows: list[Row], data: DatasetSpec) -> list[Question]:
    """The rows that training takes, in order; `text` is empty where no user turn is in one."""
    format = (
        detect_format([row.value for row in rows[:_LOOK_ROWS] if not row.problem])[0]
        if data.format == "auto"
        else data.format
    )
    if format is None:
        return []
    found = []
    for row in rows:
        if row.problem:
            continue
        try:
            given, learned = as_prompt_completion(row.value, format)
        except BadRow:
            continue
        turns = tuple(Turn(role=t["role"], content=t["content"]) for t in given)
        asked = next((t.content for t in reversed(turns) if t.role == "user"), "")
        found.append(Question(clean(asked), turns, clean(learned[-1]["content"])))
    return found


def _askable(questions: Iterable[Question], limit: int) -> tuple[Question, ...]:
    return tuple(islice((q for q in questions if q.text), limit))


def _last_rows(file: Path, limit: int) -> list[Row]:
    if file.suffix.lower() != ".json" and file.stat().st_size > WHOLE_BYTES:
        import json

        rows = []
        for at, line in enumerate(last_lines(file, _TAIL_BYTES)[0][-2 * limit :]):
            try:
                rows.append(Row(at, at + 1, json.loads(line)))
            except (ValueError, RecursionError):
                continue
        return rows
    return list(rows_in(file))[-2 * limit - _LOOK_ROWS :]
