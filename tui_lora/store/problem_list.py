"""The problems of a dataset: counted, the first kept, all written to a file when one is wanted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from tui_lora.core.check import RowProblem
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line

MOST_KEPT = 1000
_MOST_CHARS = 300


class ProblemList:
    """Raises UserError where the file cannot be written; it stands there whole after `finish`."""

    def __init__(self, list_to: str | None, keep_off: Iterable[Path] = ()) -> None:
        self.kinds: Counter[str] = Counter()
        self.first: list[RowProblem] = []
        self.total = 0
        self._to = Path(list_to) if list_to is not None else None
        self._file: TextIO | None = None
        if self._to is not None:
            self._open(self._to, keep_off)

    def _open(self, to: Path, keep_off: Iterable[Path]) -> None:
        try:
            if to.exists() and any(to.samefile(file) for file in keep_off):
                raise UserError(f"{clean(str(to))} is the dataset itself; name another file.")
            self._beside = to.with_name(f".{to.name}.part")
            self._file = self._beside.open("w", encoding="utf-8")
        except (OSError, ValueError) as error:
            raise self._cannot(error) from None

    def add(
        self,
        kind: str,
        file: str,
        line: int,
        row: int,
        message: str,
        *,
        field: str = "",
        left_out: bool,
    ) -> None:
        """Note one; `line` 0 and `row` -1 for what is wrong with no single row."""
        self.kinds[kind] += 1
        self.total += 1
        if len(self.first) >= MOST_KEPT and self._file is None:
            return
        entry = {
            "file": clean(file),
            "line": line,
            "row": row,
            "field": one_line(field, max_chars=_MOST_CHARS),
            "message": one_line(message, max_chars=_MOST_CHARS),
            "left_out": left_out,
        }
        if len(self.first) < MOST_KEPT:
            self.first.append(RowProblem.model_validate(entry))
        if self._file is not None:
            try:
                self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            except OSError as error:
                raise self._cannot(error) from None

    def finish(self) -> str | None:
        """Put the file in its place; its path."""
        if self._file is None or self._to is None:
            return None
        try:
            self._file.close()
            self._beside.replace(self._to)
        except OSError as error:
            raise self._cannot(error) from None
        self._file = None
        return str(self._to)

    def drop(self) -> None:
        """Leave nothing behind of a list that was not finished."""
        if self._file is not None:
            self._file.close()
            self._beside.unlink(missing_ok=True)

    def _cannot(self, error: OSError | ValueError) -> UserError:
        why = getattr(error, "strerror", None) or str(error)
        return UserError(f"the list cannot be written to {clean(str(self._to))}: {why}.")
