"""A JSON document with an array of rows, read a piece at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, NoReturn

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.byte_stream import ByteStream
from tui_lora.store.line_rows import MOST_BYTES, Found, line_rows, not_utf8, parse, what_is_wrong

_BLOCK = 1 << 18
_SPACE = " \t\r\n"


def json_rows(stream: ByteStream, offset: int = 0, line: int = 1) -> Iterator[Found]:
    """The rows of an array, or of an object with one array; JSONL in a .json file is read as such.

    From `offset` on, which is where a row begins. Raises UserError from where it is no JSON.
    """
    if _holds_lines(stream):
        yield from line_rows(stream, offset, line)
        return
    stream.go_to(0)
    document = _Document(stream)
    first = document.next()
    if first == "[":
        if not offset:
            document.skip("[")
        yield from _array(document, offset, line)
    elif first == "{":
        yield from _object(document, offset, line)
    else:
        document.fail("holds no array of rows.")
    if document.next():
        document.fail("goes on behind its end.")


def _holds_lines(stream: ByteStream) -> bool:
    """Whether the first line is an object of its own and another follows."""
    stream.go_to(0)
    first = stream.readline(MOST_BYTES)
    if not first.lstrip().startswith(b"{") or not isinstance(parse(first.strip())[0], dict):
        return False
    while (more := stream.readline(MOST_BYTES)) and not more.strip():
        pass
    return more.lstrip().startswith(b"{")


def _array(document: _Document, offset: int, line: int) -> Iterator[Found]:
    """Its elements; `document` stands behind the bracket, or is sent to the element at `offset`."""
    if offset:
        document.go_to(offset, line)
    if document.next() == "]":
        document.skip("]")
        return
    while True:
        document.next()
        begin, at = document.offset, document.line
        yield Found(begin, at, document.value())
        if document.next() == "]":
            document.skip("]")
            return
        document.skip(",")


def _object(document: _Document, offset: int, line: int) -> Iterator[Found]:
    """The elements of the one array among its values."""
    seen = behind_value = bool(offset)
    if offset:
        yield from _array(document, offset, line)
    else:
        document.skip("{")
    while document.next() != "}":
        if behind_value:
            document.skip(",")
        behind_value = True
        key = document.value()
        document.skip(":")
        if document.next() != "[":
            document.value()
            continue
        if seen:
            document.fail(f"holds a second array of rows, {clean(str(key), max_chars=40)!r}.")
        seen = True
        document.skip("[")
        yield from _array(document, 0, 1)
    document.skip("}")
    if not seen:
        document.fail("holds an object; needed is an array of rows, or an object with one array.")


class _Document:
    """The text of a document from where it is read on; `offset` in bytes and `line` from 1."""

    def __init__(self, stream: ByteStream) -> None:
        self.offset, self.line = 0, 1
        self._stream = stream
        self._read = codecs.getincrementaldecoder("utf-8")().decode
        self._decode = json.JSONDecoder().raw_decode
        self._text, self._at, self._ended = "", 0, False

    def go_to(self, offset: int, line: int) -> None:
        self._stream.go_to(offset)
        self.offset, self.line = offset, line
        self._read = codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at, self._ended = "", 0, False

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in _SPACE:
                at += 1
            self._pass_to(at)
            if at < len(self._text):
                return self._text[at]
            if not self._more():
                return ""

    def skip(self, sign: str) -> None:
        """Pass over `sign`; raises UserError where another stands."""
        if self.next() != sign:
            self.fail(f"is no JSON: {sign!r} is missing." if self.next() else "ends in the middle.")
        self._pass_to(self._at + 1)

    def value(self) -> Any:
        """Pass over one value, and the space before it."""
        self.next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                self.fail("is nested too deeply.")
            except ValueError as error:
                self._check_length(len(self._text))
                if self._more():
                    continue
                self._fail_to_read(error)
            else:
                # A number may go on behind the piece that was read.
                if end == len(self._text) and self._more():
                    continue
                self._check_length(end)
                self._pass_to(end)
                return value

    def _check_length(self, end: int) -> None:
        if end - self._at > MOST_BYTES:
            self.fail("holds a row that is longer than 16 MB.")

    def fail(self, what: str) -> NoReturn:
        raise UserError(what, where=f"{self._stream.path}:{self.line}")

    def _fail_to_read(self, error: ValueError) -> NoReturn:
        if not isinstance(error, json.JSONDecodeError):
            self.fail("is no JSON: a number has too many digits.")
        self._pass_to(min(error.pos, len(self._text)))
        if not self._text[self._at :].strip():
            self.fail("ends in the middle.")
        self.fail(f"is no JSON: {what_is_wrong(error)}.")

    def _pass_to(self, at: int) -> None:
        passed = self._text[self._at : at]
        self.offset += len(passed) if passed.isascii() else len(passed.encode())
        self.line += passed.count("\n")
        self._at = at

    def _more(self) -> bool:
        """Read on; as much again as is held, so that a long value is not tried too often."""
        if self._ended:
            return False
        left = self._text[self._at :]
        block = self._stream.read(max(_BLOCK, len(left)))
        self._ended = not block
        try:
            more = self._read(block, final=self._ended)
        except UnicodeDecodeError as error:
            self.line += left.count("\n") + error.object[: error.start].count(b"\n")
            self.fail(not_utf8(error) + ".")
        if self._ended:
            return False
        self._text, self._at = left + more, 0
        return True
