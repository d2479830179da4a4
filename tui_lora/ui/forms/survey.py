"""What the disk says of a draft: how many rows there are and of which kind, and a free name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from tui_lora.core.columns import parse_mixed, show_columns
from tui_lora.core.errors import UserError
from tui_lora.core.text import one_line
from tui_lora.ui.drafted import drafted, drafted_text
from tui_lora.ui.forms.checked import STAND_IN, check
from tui_lora.ui.state import Draft

if TYPE_CHECKING:
    from tui_lora.core.spec import DatasetSpec, RunSpec
    from tui_lora.store.dataset import Look
    from tui_lora.store.sources import Part

MOST_BYTES = 64 << 20
"""A dataset larger than this is not counted for the sake of a line, only looked at."""

FIRST_ROWS = 200
UNREADABLE = (UserError, OSError, ValueError)
_LOOKED_AT = (
    "path", "subset", "split", "revision", "format", "columns", "mix", "eval_path", "eval_split"
)  # fmt: skip
_PATTERN = set("*?[")


@dataclass(frozen=True)
class Survey:
    """`key` is what it was asked for; figures are None where they are not known cheaply.

    `mixed` counts the rows that are mixed into `rows`, each as often as its weight says. `format`
    and `columns` are how the rows are read, `unread` why they cannot be; `kind` is that of the
    source (rows, parquet, hub). `name` is one that no session has yet, `taken` the draft's own
    when a session has it.
    """

    key: tuple[str, ...]
    rows: int | None = None
    mixed: int | None = 0
    held_out: int | None = None
    format: str | None = None
    columns: str = ""
    unread: str = ""
    kind: str = ""
    splits: tuple[str, ...] = ()
    name: str = ""
    taken: str = ""


def survey_key(draft: Draft) -> tuple[str, ...]:
    """What a survey depends on: another key asks for another survey."""
    values = [drafted(draft, f"dataset.{name}") for name in _LOOKED_AT]
    told = json.dumps(values, sort_keys=True, default=str)
    return told, drafted_text(draft, "task"), drafted_text(draft, "model.id")


def wanted_name(draft: Draft) -> str:
    """A name made from the dataset and the model: `gsm8k-qwen2.5-1.5b`."""
    parts = PurePath(drafted_text(draft, "dataset.path")).parts
    plain = [part for part in parts if not _PATTERN & set(part) and part not in ("/", "..", "~")]
    dataset = plain[-1].removesuffix(".gz") if plain else ""
    for suffix in (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".md"):
        dataset = dataset.removesuffix(suffix)
    model = PurePath(drafted_text(draft, "model.id")).name.removesuffix(".gguf")
    named = (dataset[:24].lower(), model[:32].lower().removesuffix("-instruct"))
    return "-".join(part for part in named if part) or "run"


def survey_of(draft: Draft, free_name: Callable[[str], str]) -> Survey:
    """Ask the disk; in a thread."""
    key, name = survey_key(draft), free_name(wanted_name(draft))
    spec = check(draft).sound
    if spec is None or spec.dataset.path == STAND_IN:
        return Survey(key, name=name)
    from tui_lora.store.sources import open_source

    data = spec.dataset
    try:
        source = open_source(data)
        if source.kind != "rows":
            # Read by a worker with libraries of its own; the Data screen shows it.
            return Survey(key, kind=source.kind, splits=source.splits, name=name)
        seen = _looked(data, spec)
    except UNREADABLE:
        # The start says what is wrong, with what to do about it.
        return Survey(key, name=name)
    reading = seen.reading
    return Survey(
        key,
        _rows(seen) if reading is not None else None,
        _mixed(spec),
        _held_out(spec),
        reading.format if reading is not None else None,
        one_line(show_columns(reading.columns)) if reading is not None else "",
        one_line(seen.reason) if reading is None and seen.rows else "",
        source.kind,
        source.splits,
        name,
    )


def _looked(data: DatasetSpec, spec: RunSpec, *, part: Part = "train") -> Look:
    """All of it where that is quick, else the first rows."""
    from tui_lora.store.dataset import look
    from tui_lora.store.sources import open_source

    size = open_source(data, part).size_bytes or 0
    every = data.model_copy(update={"max_rows": None})
    return look(every, spec.task, part=part, max_rows=None if size <= MOST_BYTES else FIRST_ROWS)


def _rows(seen: Look) -> int | None:
    return seen.usable_rows if seen.complete else None


def _held_out(spec: RunSpec) -> int | None:
    if spec.dataset.eval_path is None and spec.dataset.eval_split is None:
        return None
    try:
        return _rows(_looked(spec.dataset, spec, part="held_out"))
    except UNREADABLE:
        return None


def _mixed(spec: RunSpec) -> int | None:
    total = 0
    for entry in spec.dataset.mix:
        try:
            path, weight = parse_mixed(entry)
            data = spec.dataset.model_copy(update={"path": path, "split": None})
            more = _rows(_looked(data, spec))
        except UNREADABLE:
            return None
        if more is None:
            return None
        total += int(weight) * more + round(more * (weight % 1))
    return total
