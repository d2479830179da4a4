"""A local dataset file as rows, with line numbers: for the first look, and for the worker."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_lora.core.errors import Problem, UserError
from tui_lora.core.rows import BadRow, RowFormat, as_prompt_completion, detect_format
from tui_lora.core.text import clean
from tui_lora.store.paths import data_folder, expanded, is_there

SHIPPED = {"quickstart": "train.jsonl", "quickstart-heldout": "heldout.jsonl"}
"""Names that a spec may use for the files that come with the package."""

SUFFIXES = (".jsonl", ".json", ".ndjson")
_MAX_JSON_BYTES = 1 << 30
_MAX_LINE_BYTES = 16 << 20
MAX_PROBLEMS = 1000


@dataclass(frozen=True)
class Row:
    """One row as it stands in the file; `line` counts from 1 (for .json: the row's number)."""

    number: int
    line: int
    value: Any
    problem: str = ""


@dataclass
class Look:
    """What a look at a dataset found: its format and why, counts, the first problems."""

    path: str
    format: RowFormat | None
    reason: str
    rows: int = 0
    usable_rows: int = 0
    columns: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True


def dataset_file(path: str) -> Path:
    """The file that a spec's dataset path means; `quickstart` is one that we ship."""
    if path in SHIPPED:
        return data_folder() / "quickstart" / SHIPPED[path]
    return expanded(path)


def check_file(path: str, *, field: str = "dataset.path") -> Path:
    """The file, if it is one that can be read as a dataset; raises UserError."""
    file = dataset_file(path)
    shown = clean(str(file))
    if not is_there(file):
        raise UserError(
            f"there is no dataset {shown}.",
            where=field,
            then="Give a JSONL or JSON file, or quickstart for the dataset that comes along.",
        )
    if file.is_dir():
        raise UserError(
            f"{shown} is a folder; a dataset is one JSONL or JSON file so far.", where=field
        )
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{shown} is no JSONL or JSON file.", where=field, then=f"Known: {', '.join(SUFFIXES)}."
        )
    try:
        if file.stat().st_size == 0:
            raise UserError(f"{shown} is empty.", where=field)
        with file.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}.", where=field) from None
    return file


def rows_in(file: Path) -> Iterator[Row]:
    """Every row, parsed or with its problem; blank lines are no rows.

    JSON files hold an array, or an object with one; they are read at once (up to 1 GiB).
    """
    if file.suffix.lower() == ".json":
        yield from _json_rows(file)
        return
    with file.open("rb") as lines:
        number = 0
        for at, raw in enumerate(_bounded(lines), start=1):
            if raw is None:
                yield Row(number, at, None, "is longer than 16 MB")
                number += 1
                continue
            text = raw.removeprefix(b"\xef\xbb\xbf").strip() if at == 1 else raw.strip()
            if not text:
                continue
            try:
                yield Row(number, at, json.loads(text))
            except (ValueError, RecursionError) as error:
                why = str(getattr(error, "msg", None) or "not UTF-8 text")
                why = clean(why).removesuffix(" starting at")
                column = getattr(error, "colno", None)
                place = f" at column {column}" if column else ""
                yield Row(number, at, None, f"is no JSON: {why}{place}")
            number += 1


def look(path: str, *, format: str = "auto", max_rows: int | None = None) -> Look:
    """Read a dataset (or its first `max_rows`) and say what it is. Raises UserError.

    Never raises for a bad row: those are counted in `problems`.
    """
    file = check_file(path)
    first: list[Row] = []
    found: RowFormat | None = None
    reason = ""
    result = Look(str(file), None, "")
    columns: dict[str, None] = {}

    def take(row: Row) -> None:
        result.rows += 1
        if isinstance(row.value, dict):
            columns.update(dict.fromkeys(clean(str(key), max_chars=40) for key in row.value))
        problem = row_problem(row, found)
        if problem is None:
            result.usable_rows += 1
        elif len(result.problems) < MAX_PROBLEMS:
            result.problems.append(problem)

    def settle() -> None:
        nonlocal found, reason
        if format == "auto":
            found, reason = detect_format([row.value for row in first if not row.problem])
        else:
            found, reason = format, "as you said"  # type: ignore[assignment]
        for row in first:
            take(row)

    for row in rows_in(file):
        if max_rows is not None and row.number >= max_rows:
            result.complete = False
            break
        if len(first) < 100 and not result.rows:
            first.append(row)
            if len(first) == 100:
                settle()
            continue
        take(row)
    if not result.rows:
        settle()
    result.format, result.reason, result.columns = found, reason, list(columns)[:50]
    return result


def row_problem(row: Row, format: RowFormat | None) -> Problem | None:
    """Why `row` cannot be learned from, or None."""
    if row.problem:
        return Problem(row.problem + ".", line=row.line)
    if format is None:
        return Problem("has no known format.", line=row.line)
    try:
        as_prompt_completion(row.value, format)
    except BadRow as error:
        return Problem(f"{clean(str(error))}.", field=clean(error.field), line=row.line)
    return None


def held_out_rows(rows: int, share: float, seed: int) -> frozenset[int]:
    """Which of the usable rows (counted from 0) are held out when a share is drawn by seed.

    At least one, and never all; none where there is nothing to share.
    """
    if share <= 0 or rows < 2:
        return frozenset()
    size = min(rows - 1, max(1, round(rows * share)))
    return frozenset(random.Random(seed).sample(range(rows), size))  # noqa: S311 (a draw, no secret)


def _json_rows(file: Path) -> Iterator[Row]:
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise UserError(
            f"{file} is over 1 GiB as one JSON document.", then="Write it as JSONL, a row a line."
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise UserError("is nested too deeply.", where=str(file)) from None
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        why = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8 text"
        raise UserError(f"is no JSON: {clean(why)}.", where=f"{file}{line}") from None
    if isinstance(data, dict):
        lists = {key: value for key, value in data.items() if isinstance(value, list)}
        if len(lists) != 1:
            raise UserError(
                "holds an object; needed is an array of rows, or an object with one array.",
                where=str(file),
            )
        data = next(iter(lists.values()))
    if not isinstance(data, list):
        raise UserError("holds no array of rows.", where=str(file))
    for number, value in enumerate(data):
        yield Row(number, number + 1, value)


def _bounded(file: Any) -> Iterator[bytes | None]:
    """Lines of a binary file; None for one over the limit, which is skipped unread."""
    while True:
        raw = file.readline(_MAX_LINE_BYTES + 1)
        if not raw:
            return
        if len(raw) > _MAX_LINE_BYTES and not raw.endswith(b"\n"):
            while True:
                rest = file.readline(_MAX_LINE_BYTES)
                if not rest or rest.endswith(b"\n"):
                    break
            yield None
        else:
            yield raw
