"""Rows of the dataset as trl takes them: conversational prompt and completion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from tui_lora.core.errors import Problem, UserError
from tui_lora.core.rows import as_prompt_completion
from tui_lora.core.spec import DatasetSpec
from tui_lora.core.text import clean
from tui_lora.store.dataset import check_file, held_out_rows, look, row_problem, rows_in


@dataclass(frozen=True)
class Prepared:
    """Train and held-out rows. `fingerprint`: sha256 over every row used, in order."""

    train: Dataset
    held_out: Dataset | None
    format: str
    reason: str
    left_out: list[Problem]
    fingerprint: str


def prepare(spec: DatasetSpec, *, seed: int, say: Callable[[str], None]) -> Prepared:
    """Read the dataset, leave out what cannot be learned from, hold a part out by `seed`.

    Raises UserError when no row is left.
    """
    rows, format, reason, left_out = _read(spec.path, spec.format, spec.max_rows)
    if not rows:
        first = f" The first: {left_out[0]}" if left_out else ""
        raise UserError(
            f"no row of {clean(spec.path)} can be learned from.{first}", where="dataset.path"
        )
    if left_out:
        lines = ", ".join(str(problem.line) for problem in left_out[:5])
        more = " …" if len(left_out) > 5 else ""
        say(f"left out {len(left_out):,} rows that cannot be used (lines {lines}{more})")
    held_out: list[dict[str, Any]] = []
    if spec.eval_path is not None:
        held_out, _, _, bad = _read(spec.eval_path, spec.format, None)
        if not held_out:
            first = f" The first: {bad[0]}" if bad else ""
            raise UserError(
                f"no row of {clean(spec.eval_path)} can be used.{first}", where="dataset.eval_path"
            )
    else:
        chosen = held_out_rows(len(rows), spec.eval_share, seed)
        held_out = [row for at, row in enumerate(rows) if at in chosen]
        rows = [row for at, row in enumerate(rows) if at not in chosen]
    return Prepared(
        train=Dataset.from_list(rows),
        held_out=Dataset.from_list(held_out) if held_out else None,
        format=format,
        reason=reason,
        left_out=left_out,
        fingerprint=_fingerprint(rows, held_out),
    )


def _read(
    path: str, format: str, max_rows: int | None
) -> tuple[list[dict[str, Any]], str, str, list[Problem]]:
    found = look(path, format=format, max_rows=200)
    if found.format is None:
        raise UserError(
            f"the format of {clean(path)} is not known: {found.reason}.", where="dataset.format"
        )
    rows: list[dict[str, Any]] = []
    bad: list[Problem] = []
    for row in rows_in(check_file(path)):
        if max_rows is not None and len(rows) >= max_rows:
            break
        problem = row_problem(row, found.format)
        if problem is not None:
            bad.append(problem)
            continue
        prompt, completion = as_prompt_completion(row.value, found.format)
        rows.append({"prompt": prompt, "completion": completion})
    return rows, found.format, found.reason, bad


def _fingerprint(*parts: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for row in part:
            digest.update(repr(row).encode("utf-8", errors="replace"))
        digest.update(b"\x00")
    return digest.hexdigest()
