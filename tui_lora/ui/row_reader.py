"""Rows of the chosen dataset for the Data screen, read and searched in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError

if TYPE_CHECKING:
    from tui_lora.core.spec import DatasetSpec
    from tui_lora.store.row_file import RowFile
    from tui_lora.ui.row_written import Written

PROGRESS_S = 0.3


class RowFound(Message):
    """A row, or None behind the last; `rows` is their number once that is known.

    `opened` tells the openings of a reader apart; `problem` says why nothing can be read.
    """

    def __init__(
        self,
        opened: int,
        number: int,
        row: Written | None,
        rows: int | None,
        problem: str = "",
    ) -> None:
        self.opened = opened
        self.number = number
        self.row = row
        self.rows = rows
        self.problem = problem
        super().__init__()


class ReadElsewhere(Message):
    """The dataset is of a kind that only the inspect worker reads."""

    def __init__(self, opened: int, number: int) -> None:
        self.opened = opened
        self.number = number
        super().__init__()


class Searched(Message):
    """How far a search came: the row that has the text, None while it goes on or found none."""

    def __init__(self, opened: int, number: int | None, seen: int, *, done: bool) -> None:
        self.opened = opened
        self.number = number
        self.seen = seen
        self.done = done
        super().__init__()


class RowReader:
    """Reads forward through one dataset at a time; asking anew ends what was asked before."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self._post = post
        self._data: DatasetSpec | None = None
        self._file: RowFile | None = None
        self._asked = 0
        self._text = ""
        self.found_none = False
        self.opened = 0
        self.elsewhere = False

    def open(self, data: DatasetSpec | None) -> None:
        """Turn to another dataset, or to the same one from its start."""
        self._asked += 1
        self.opened += 1
        self._data, self._file, self.elsewhere = data, None, False

    def stop(self) -> None:
        """Leave off reading and searching."""
        self._asked += 1

    def ask(self, number: int) -> None:
        """Read row `number` (from 0); a `RowFound` is posted, or `ReadElsewhere`."""
        self._in_thread(self._read, number)

    def start_of_search(self, text: str, here: int) -> int:
        """Where to look for a text from: row `here`, the next one for the same text again, and the
        first once there was none behind."""
        start = 0 if self.found_none else here + (text == self._text)
        self._text, self.found_none = text, False
        return start

    def find(self, text: str, start: int) -> None:
        """Look for a text from row `start` on; `Searched` is posted as it goes."""

        def search(data: DatasetSpec, number: int, asked: int, opened: int) -> None:
            self._search(data, number, asked, opened, text)

        self._in_thread(search, start)

    def _in_thread(self, do: Callable[[DatasetSpec, int, int, int], None], number: int) -> None:
        self._asked += 1
        if self._data is None:
            return
        arguments = (self._data, number, self._asked, self.opened)
        threading.Thread(target=do, args=arguments, name="rows", daemon=True).start()

    def _open(self, data: DatasetSpec, opened: int) -> RowFile | None:
        """The file to read from; None where the worker must. Raises UserError and OSError."""
        from tui_lora.store.row_file import RowFile
        from tui_lora.store.sources import open_source

        file = self._file
        if file is None and not self.elsewhere:
            source = open_source(data)
            here = source.kind == "rows"
            file = RowFile(source) if here else None
            if opened == self.opened:
                self._file, self.elsewhere = file, not here
        return file

    def _read(self, data: DatasetSpec, number: int, asked: int, opened: int) -> None:
        from tui_lora.ui.row_written import written

        def go_on() -> bool:
            return asked == self._asked

        fact: Message
        try:
            file = self._open(data, opened)
            if file is None:
                fact = ReadElsewhere(opened, number)
            else:
                row = file.row(number, go_on)
                found = written(row) if row is not None and go_on() else None
                fact = RowFound(opened, number, found, file.rows)
        except (UserError, OSError) as error:
            fact = RowFound(opened, number, None, None, why(error))
        if go_on():
            self._post(fact)

    def _search(self, data: DatasetSpec, number: int, asked: int, opened: int, text: str) -> None:
        seen, told = 0, time.monotonic()

        def go_on() -> bool:
            nonlocal seen, told
            seen += 1
            if not seen % 256 and time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                if asked == self._asked:
                    self._post(Searched(opened, None, number + seen, done=False))
            return asked == self._asked

        found = None
        try:
            file = self._open(data, opened)
            if file is not None:
                found = file.find(text, number, go_on)
        except (UserError, OSError) as error:
            if asked == self._asked:
                self._post(RowFound(opened, number, None, None, why(error)))
            return
        if asked == self._asked:
            self._post(Searched(opened, found, number + seen, done=True))


def why(error: UserError | OSError) -> str:
    """What keeps a dataset from being read, in a sentence."""
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or type(error).__name__}."
    where = f"{error.where}: " if "/" in error.where else ""
    return f"{where}{error.what} {error.then}".strip()
