"""The rows that are not trained on, listed in a file as they are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from tui_lora.core.text import clean
from tui_lora.worker.spool import Place


class LeftOut:
    """Writes file, line, row, field and message of each, as JSON a line.

    The file appears with the first one; an older one is taken away.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._out: TextIO | None = None
        self.rows = 0

    def add(self, place: Place, field: str, message: str) -> None:
        if self._out is None:
            self._out = self._path.open("a", encoding="utf-8")
        entry = {
            "file": clean(place.file),
            "line": place.line,
            "row": place.row,
            "field": clean(field),
            "message": clean(message),
        }
        self._out.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.rows += 1

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None
