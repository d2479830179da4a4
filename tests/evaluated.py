"""Evaluations as they are kept in a session."""

from __future__ import annotations

from collections.abc import Iterable

from tui_lora.core.evaluation import AnswerRow, Evaluation, LossRow
from tui_lora.store import evaluations
from tui_lora.store.paths import SessionPaths


def keep(
    paths: SessionPaths, found: Evaluation, rows: Iterable[LossRow | AnswerRow] = ()
) -> evaluations.Kept:
    """Write it down as a worker does, and read it back."""
    partial = evaluations.open_partial(paths, f"{found.t}", {}, found.t, anew=True)
    path = evaluations.keep(paths, partial, found, rows)
    partial.close()
    return next(one for one in evaluations.listed(paths) if one.path == path)
