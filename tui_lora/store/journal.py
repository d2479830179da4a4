"""Append-only files of lines: one writer that never tears, readers that never stumble."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

MAX_LINE_BYTES = 1 << 20

_APPENDED = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
"""Not through a link: one that came with a session could let us write anywhere."""


def append_line(path: Path, line: str) -> None:
    """Append `line` (with its newline) in one write, so that several processes may.

    A line that a full disk tore before is ended first; so is one that another process is just
    writing, which leaves an empty line that readers pass. Raises OSError, also when the disk took
    only a part of it.
    """
    data = line.encode("utf-8", errors="replace")
    descriptor = os.open(path, _APPENDED, 0o600)
    try:
        if _is_torn(descriptor):
            data = b"\n" + data
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _is_torn(descriptor: int) -> bool:
    """Whether a file's last line lacks its end."""
    size = os.fstat(descriptor).st_size
    return bool(size) and os.pread(descriptor, 1, size - 1) != b"\n"


class Appender:
    """The one writer of a journal; keeps the file open and writes whole lines.

    What a killed writer or a full disk left of a line is ended before the next, so that it spoils
    no line but its own. A line that cannot be written (a full disk) is dropped and counted: the run
    is worth more than its log.
    """

    def __init__(self, path: Path) -> None:
        self.dropped = 0
        self._descriptor = os.open(path, _APPENDED, 0o600)
        self._torn = _is_torn(self._descriptor)

    def append(self, line: str, *, durable: bool = False) -> bool:
        """Write one line; False when the disk would not take it."""
        data = line.encode("utf-8", errors="replace")
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._descriptor, data)
            self._torn = written < len(data) and _is_torn(self._descriptor)
            if written < len(data):
                raise OSError("short write")
            if durable:
                os.fsync(self._descriptor)
        except OSError:
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Appender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Tail:
    """Reads whole lines from where it stopped; waits for a torn last line.

    A file that shrank was replaced: `restarted` turns true and reading begins at 0 again. Lines
    over a mebibyte are skipped and counted in `too_long`.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.too_long = 0
        self.restarted = False
        self._skipping = False

    def read(self, max_bytes: int = 1 << 22) -> list[bytes]:
        """The complete lines that came since the last call, newlines off; at most `max_bytes`.

        A file that cannot be read has none. With `max_bytes` under a mebibyte a longer line is
        never passed.
        """
        try:
            with _opened(self.path) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self.restarted, self._skipping = 0, True, False
                file.seek(self.offset)
                while True:
                    before = self.offset
                    block = file.read(max_bytes)
                    lines = self._complete(block)
                    # A block of nothing but lines too long is not the end of the file.
                    if lines or self.offset == before or len(block) < max_bytes:
                        return lines
                    file.seek(self.offset)
        except OSError:
            return []

    def _complete(self, block: bytes) -> list[bytes]:
        end = block.rfind(b"\n") + 1
        if end == 0:
            if len(block) >= MAX_LINE_BYTES or self._skipping:
                self.offset += len(block)
                self._skipping = True
            return []
        self.offset += end
        lines = block[: end - 1].split(b"\n")
        if self._skipping:
            self._skipping = False
            self.too_long += 1
            lines = lines[1:]
        short = [line for line in lines if len(line) <= MAX_LINE_BYTES]
        self.too_long += len(lines) - len(short)
        return short


def _opened(path: Path) -> BinaryIO:
    """A file to be read; for a pipe that stands in its place nobody waits. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no file")
    return os.fdopen(descriptor, "rb")


def last_lines(path: Path, max_bytes: int) -> tuple[list[bytes], int]:
    """The whole lines in the last `max_bytes` of a file, and the offset at which they begin."""
    try:
        start = max(0, path.stat().st_size - max_bytes)
    except OSError:
        return [], 0
    tail = Tail(path, start)
    lines = tail.read(max_bytes + 1)
    if start and lines:
        # The first line began before the window.
        start += len(lines[0]) + 1
        lines = lines[1:]
    return lines, start


def last_line_with(
    path: Path, needle: bytes, *, after: int, before: int
) -> tuple[int, bytes] | None:
    """The last whole line with `needle` between two offsets, and where it begins; None without.

    Goes through the file backwards in memory, so that a log of 100,000 events takes milliseconds.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            at = data.rfind(needle, after, before)
            if at < 0:
                return None
            begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            return (begin, data[begin:end]) if 0 <= end <= begin + MAX_LINE_BYTES else None
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
