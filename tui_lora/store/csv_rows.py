"""CSV and TSV: a row of named cells a record, however the fields are told apart."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.byte_stream import ByteStream
from tui_lora.store.line_rows import MOST_BYTES, Found, not_utf8, skip_line

_SAMPLE_RECORDS = 50
_SAMPLE_BYTES = 1 << 18
_DELIMITERS = (",", "\t", ";", "|")
_NO_DELIMITER = "\x1f"

Dialect = dict[str, Any]


def csv_rows(stream: ByteStream, offset: int = 0, line: int = 1) -> Iterator[Found]:
    """Every record behind the header, from `offset` on; blank lines are no rows.

    Raises UserError for a header that cannot be one.
    """
    csv.field_size_limit(MOST_BYTES)
    dialect = find_dialect(stream)
    records = _Records(stream, dialect)
    header, problem = records.next()
    while header == []:
        header, problem = records.next()
    where = f"{stream.path}:{records.line - 1}"
    if problem:
        raise UserError(f"has no header row: the first line {problem}.", where=where)
    names = _names(header or [], where)
    if offset:
        records.go_to(offset, line)
    while True:
        begin, at = records.offset, records.line
        cells, problem = records.next()
        if cells is None and not problem:
            return
        if cells is None:
            yield Found(begin, at, None, problem)
        elif len(cells) == len(names):
            yield Found(begin, at, dict(zip(names, cells, strict=True)))
        elif cells:
            many = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            yield Found(begin, at, None, f"has {many} where the header has {len(names)}")


def find_dialect(stream: ByteStream) -> Dialect:
    """How the fields are told apart: what makes the most records as wide as the header."""
    best, most = _dialect(_NO_DELIMITER), 0.0
    for delimiter in _DELIMITERS:
        for quoted in (True, False):
            dialect = _dialect(delimiter, quoted=quoted)
            sample = _sample(_Records(stream, dialect))
            width = len(sample[0]) if sample else 0
            if width < 2 or (not quoted and _quotes_are_meant(sample)):
                continue
            fit = sum(len(cells) == width for cells in sample) / len(sample)
            if fit > most:
                best, most = dialect, fit
    return best


def _sample(records: _Records) -> list[list[str]]:
    """The first records; a bad one is empty."""
    found: list[list[str]] = []
    while len(found) < _SAMPLE_RECORDS and records.offset < _SAMPLE_BYTES:
        cells, problem = records.next()
        if cells is None and not problem:
            break
        if cells != []:
            found.append(cells or [])
    return found


def _quotes_are_meant(sample: list[list[str]]) -> bool:
    """Whether more cells, read as they are, stand in quotes than only begin with one, as stray
    ones do in TSV."""
    begun = [cell for cells in sample for cell in cells if cell.startswith('"')]
    closed = sum(len(cell) > 1 and cell.endswith('"') for cell in begun)
    return closed > len(begun) - closed


def _dialect(delimiter: str, *, quoted: bool = True) -> Dialect:
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return {"delimiter": delimiter, "quoting": quoting, "strict": True}


def _names(header: Sequence[str], where: str) -> list[str]:
    """The columns' names; one without a name (a table's index) is called by its place."""
    names = [name.strip() or f"column {at}" for at, name in enumerate(header, start=1)]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise UserError(
            f"the header names {clean(twice, max_chars=40)!r} twice.",
            where=where,
            then="Give each column a name of its own.",
        )
    return names


class _Records:
    """Records one after another; `offset` and `line` are where the next one begins."""

    def __init__(self, stream: ByteStream, dialect: Dialect) -> None:
        self._stream, self._dialect = stream, dialect
        self.go_to(0, 1)

    def go_to(self, offset: int, line: int) -> None:
        self._stream.go_to(offset)
        self.offset, self.line = offset, line
        self._lines = _Lines(self._stream)
        self._reader = csv.reader(self._lines, **self._dialect)

    def next(self) -> tuple[list[str] | None, str]:
        """The cells, or None and what is wrong; None and nothing at the end.

        A bad record costs its first line only: what follows is read anew.
        """
        try:
            cells: list[str] | None = next(self._reader)
            problem = ""
        except StopIteration:
            return None, ""
        except UnicodeDecodeError as error:
            cells, problem = None, not_utf8(error)
        except csv.Error as error:
            cells, problem = None, _in_our_words(str(error))
        except _TooLong:
            cells, problem = None, "holds a line longer than 16 MB"
        taken = self._lines.taken
        if problem:
            if not self._lines.skipped:
                self._lines.give_back(taken[1:])
                del taken[1:]
            self._reader = csv.reader(self._lines, **self._dialect)
        self.offset += sum(map(len, taken)) + self._lines.skipped
        self.line += len(taken)
        taken.clear()
        self._lines.skipped = 0
        return cells, problem


class _TooLong(Exception):
    pass


class _Lines(Iterator[str]):
    """The stream's lines as text; `taken` are those of the record that is being read, `skipped`
    the bytes of a line that were not held. Raises _TooLong and UnicodeDecodeError."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._back: list[bytes] = []
        self.taken: list[bytes] = []
        self.skipped = 0

    def give_back(self, lines: list[bytes]) -> None:
        self._back.extend(reversed(lines))

    def __next__(self) -> str:
        raw = self._back.pop() if self._back else self._stream.readline(MOST_BYTES + 1)
        if not raw:
            raise StopIteration
        self.taken.append(raw)
        if len(raw) > MOST_BYTES and not raw.endswith(b"\n"):
            self.skipped = skip_line(self._stream)
            raise _TooLong
        return raw.decode("utf-8")


def _in_our_words(error: str) -> str:
    if "unexpected end of data" in error:
        return "opens a quote that is never closed"
    if "field larger" in error:
        return "holds a field longer than 16 MB, or opens a quote that is never closed"
    if "expected after" in error:
        return "goes on behind a closing quote (a quote inside a field is written twice)"
    if "new-line character" in error:
        return "holds a carriage return outside quotes"
    return f"is no CSV: {clean(error)}"
