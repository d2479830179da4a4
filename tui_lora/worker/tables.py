"""Rows of every kind of source: files here, Parquet, and datasets of the Hub."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line
from tui_lora.store import sources
from tui_lora.store.sources import Row, Source
from tui_lora.worker import hub_tables
from tui_lora.worker.cells import Cells

OnProgress = Callable[[str, float | None, float | None], None]
"""What is being done, and how many bytes of how many, where that is known."""

_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Facts:
    """What is known of a source without reading its rows; `rows` is None where it is not."""

    splits: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    rows: int | None = None
    note: str = ""


def rows_of(
    source: Source, *, start: int = 0, on_progress: OnProgress | None = None
) -> Iterator[Row]:
    """Every row from number `start` on. Raises UserError for what cannot be read at all.

    A dataset of the Hub is fetched first, unless it streams; a bad row is a Row with a problem.
    """
    if source.kind == "parquet":
        return _parquet_rows(source, start)
    if source.kind == "hub":
        return hub_tables.rows_of(source, start, on_progress or _quietly)
    return itertools.islice(sources.rows_of(source), start, None)


def facts(source: Source) -> Facts:
    """Splits, subsets, the number of rows and what is not read. Raises UserError."""
    if source.kind == "hub":
        return Facts(*hub_tables.facts(source))
    if source.kind == "parquet":
        return _parquet_facts(source)
    return Facts(splits=source.splits, note=source.note)


def table_splits(source: Source) -> tuple[str, ...]:
    """The splits of a source. Raises UserError."""
    return hub_tables.splits(source) if source.kind == "hub" else source.splits


def table_subsets(source: Source) -> tuple[str, ...]:
    """The subsets of a Hub dataset that has several; whichever is chosen. Raises UserError."""
    return hub_tables.subsets(source) if source.kind == "hub" else ()


def fingerprint(source: Source) -> str:
    """A digest of what a source holds: of its bytes, or of the Hub's commit. Raises UserError."""
    return hub_tables.fingerprint(source) if source.kind == "hub" else sources.fingerprint(source)


def _quietly(label: str, done: float | None, total: float | None) -> None:
    pass


def _parquet_rows(source: Source, start: int) -> Iterator[Row]:
    number = 0
    for file in source.files:
        with _opened(file) as table:
            rows = table.metadata.num_rows
            if number + rows <= start:
                number += rows
                continue
            cells = _cells(table)
            # Row groups that end before the first row wanted are not read at all.
            before = 0
            groups: list[int] = []
            for group in range(table.num_row_groups):
                size = table.metadata.row_group(group).num_rows
                if number + before + size <= start and not groups:
                    before += size
                else:
                    groups.append(group)
            line = before
            for batch in _batches(file, table, groups, cells):
                for value, problem in _values(batch, cells):
                    line += 1
                    if number + line > start:
                        yield Row(number + line - 1, line, value, problem, str(file))
            number += rows


def _opened(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _cells(table: Any) -> Cells:
    schema = table.schema_arrow
    features = None
    # `datasets` writes what its columns are into the file: names of labels, pictures.
    if b"huggingface" in (schema.metadata or {}):
        try:
            features = Features.from_arrow_schema(schema)
        except (ValueError, TypeError, KeyError, json.JSONDecodeError):
            features = None
    return Cells(schema.names, features)


def _batches(file: Path, table: Any, groups: list[int], cells: Cells) -> Iterator[Any]:
    try:
        yield from table.iter_batches(
            batch_size=_ROWS_AT_ONCE,
            row_groups=groups,
            columns=list(cells.columns) if cells.left_out else None,
        )
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _values(batch: Any, cells: Cells) -> Iterator[tuple[Any, str]]:
    """The rows of a batch, each with what is wrong with it."""
    try:
        found = batch.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        # A date beyond Python's years, bytes in a text column: one row's fault, so one by one.
        if batch.num_rows == 1:
            why = one_line(str(error), max_chars=120).rstrip(".")
            yield None, f"holds a value that cannot be read: {why}"
            return
        for at in range(batch.num_rows):
            yield from _values(batch.slice(at, 1), cells)
        return
    for row in found:
        yield cells.row(row), ""


def _damaged(file: Path, error: Exception) -> UserError:
    shown = clean(str(file))
    if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
        return UserError(f"{shown} cannot be read: {error.strerror}.", where="dataset.path")
    why = one_line(str(error), max_chars=200).rstrip(".")
    return UserError(
        f"{shown} is no whole Parquet file: {why}.",
        where="dataset.path",
        then="It may be cut off: fetch or write it again.",
    )


def _parquet_facts(source: Source) -> Facts:
    rows, notes = 0, [source.note]
    for file in source.files:
        with _opened(file) as table:
            rows += table.metadata.num_rows
            notes.append(_cells(table).note)
    return Facts(
        splits=source.splits, rows=rows, note="; ".join(dict.fromkeys(filter(None, notes)))
    )
