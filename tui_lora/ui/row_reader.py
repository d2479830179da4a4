"""Rows of the chosen dataset for the Data screen, read in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError

if TYPE_CHECKING:
    from tui_lora.store.dataset import Row
    from tui_lora.store.row_file import RowFile


class RowRead(Message):
    """A row of a file, or None behind its end; `rows` is their number once that is known."""

    def __init__(
        self, path: str, number: int, row: Row | None, rows: int | None, problem: str = ""
    ) -> None:
        self.path = path
        self.number = number
        self.row = row
        self.rows = rows
        self.problem = problem
        super().__init__()


class RowReader:
    """Reads forward through one file at a time; asking anew ends what was asked before."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self._post = post
        self._path = ""
        self._file: RowFile | None = None
        self._asked = 0

    def open(self, path: str) -> None:
        """Turn to another file, or to the same one from its start."""
        self._path, self._file = path, None

    def close(self) -> None:
        self._asked += 1

    def ask(self, number: int) -> None:
        """Read row `number` (from 0); a `RowRead` is posted."""
        self._asked += 1
        arguments = (self._path, number, self._asked)
        threading.Thread(target=self._read, args=arguments, name="rows", daemon=True).start()

    def _read(self, path: str, number: int, asked: int) -> None:
        from tui_lora.store.dataset import check_file
        from tui_lora.store.row_file import RowFile

        def go_on() -> bool:
            return asked == self._asked

        file = self._file
        row, problem = None, ""
        try:
            if file is None:
                file = RowFile(check_file(path))
                if go_on():
                    self._file = file
            row = file.row(number, go_on)
        except UserError as error:
            problem = f"{error.where}: {error.what}" if "/" in error.where else error.what
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}."
        if go_on():
            self._post(RowRead(path, number, row, file.rows if file else None, problem))
