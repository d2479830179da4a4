"""Answers of base and adapter to the same questions, kept in a session's evaluations/."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import SessionPaths

PREFIX = "answers-"
_MAX_BYTES = 4 << 20


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KeptAnswer(_Kept):
    text: str
    tokens: int
    seconds: float | None = None
    ended_by: str = ""

    @field_validator("text")
    @classmethod
    def _clean(cls, text: str) -> str:
        return clean(text)


class KeptRow(_Kept):
    """A question with the dataset's answer, the base's and the adapter's."""

    question: str
    reference: str
    base: KeptAnswer
    tuned: KeptAnswer

    @field_validator("question", "reference")
    @classmethod
    def _clean(cls, text: str) -> str:
        return clean(text)


class AnswerSheet(_Kept):
    """`source` says in words where the questions are from; `t` unix seconds, greedy answers."""

    v: int = 1
    t: float
    source: str
    model: str
    step: int | None = None
    max_new_tokens: int
    rows: tuple[KeptRow, ...]

    @field_validator("source", "model")
    @classmethod
    def _clean(cls, text: str) -> str:
        return clean(text)


def keep(paths: SessionPaths, sheet: AnswerSheet) -> Path:
    """Write the sheet whole; raises OSError."""
    paths.evaluations.mkdir(mode=0o700, exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(sheet.t))
    path = paths.evaluations / f"{PREFIX}{name}.json"
    number = 2
    while path.exists():
        path = paths.evaluations / f"{PREFIX}{name}-{number}.json"
        number += 1
    write_whole(path, sheet.model_dump_json(indent=1) + "\n")
    return path


def newest(paths: SessionPaths) -> AnswerSheet | None:
    """The sheet that was made last; one that cannot be read is passed over."""
    try:
        files = [p for p in paths.evaluations.iterdir() if p.name.startswith(PREFIX)]
    except OSError:
        return None
    sheets = [sheet for file in files if (sheet := _read(file)) is not None]
    return max(sheets, key=lambda sheet: sheet.t, default=None)


def _read(file: Path) -> AnswerSheet | None:
    try:
        if file.suffix != ".json" or file.stat().st_size > _MAX_BYTES:
            return None
        return AnswerSheet.model_validate_json(file.read_bytes())
    except (OSError, ValidationError, ValueError):
        return None
