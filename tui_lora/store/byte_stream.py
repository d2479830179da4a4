"""A data file as UTF-8 bytes: decompressed, its byte order mark taken off, UTF-16 written anew."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import IO, cast

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, ""),
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
"""What reading a damaged .gz raises, here and there."""


class ByteStream:
    """The bytes of one file from an offset on; offsets count what `read` gives, not the disk.

    Raises OSError, and one of `DAMAGED`, wherever it reads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self._disk = self.path.open("rb")
        self._bytes: IO[bytes] = self._disk
        if self._disk.peek(2).startswith(_GZIP):
            self._bytes = cast(IO[bytes], gzip.GzipFile(fileobj=self._disk))
        head = self._bytes.read(4)
        mark, self._encoding = next(
            ((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "")
        )
        self._begin = 0 if self._encoding else len(mark)
        self._bytes.seek(self._begin)
        if self._encoding:
            self._bytes = io.BufferedReader(_Recoded(self._bytes, self._encoding))  # type: ignore[type-var]
        self.read, self.readline = self._bytes.read, self._bytes.readline

    def go_to(self, offset: int) -> None:
        """Stand at `offset`; of UTF-16 that means reading it again."""
        if not self._encoding:
            self._bytes.seek(self._begin + offset)
            return
        self.close()
        self._open()
        while offset > 0 and (block := self.read(min(offset, _BLOCK))):
            offset -= len(block)

    @property
    def taken(self) -> int:
        """Bytes taken from the disk so far."""
        return 0 if self._disk.closed else self._disk.tell()

    def close(self) -> None:
        self._disk.close()


class _Recoded(io.RawIOBase):
    """Another encoding as UTF-8. What cannot be decoded comes as bytes that are no UTF-8."""

    def __init__(self, source: IO[bytes], encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._left:
            block = self._source.read(_BLOCK)
            try:
                text = self._decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                self._left = b"\xff"
                self._decoder.reset()
            else:
                self._left = text.encode("utf-8", "surrogatepass")
            if not block:
                break
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
