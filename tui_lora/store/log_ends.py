"""The ends of a session's log: enough to paint from, and to sum the session up."""

from __future__ import annotations

from pathlib import Path

from tui_lora.store.journal import Tail, last_line_with, last_lines

HEAD_BYTES = 1 << 16
TAIL_BYTES = 1 << 17
_NEEDED_FROM_BETWEEN = (
    b'"type":"attempt_started"',
    b'"type":"run_planned"',
    b'"type":"evaluated"',
    b'"type":"spec_changed"',
    b'"type":"memory_forecasted"',
)


class LogEnds:
    """Reads the first and the last lines of a log, as often as one likes.

    It remembers what it found between them and goes through new lines alone: a run of days writes
    75 MB a day, and a list of sessions asks every other second.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0
        self._between: dict[bytes, tuple[int, bytes]] = {}
        self._from = self._to = 0

    def read(self) -> tuple[list[bytes], int]:
        """Enough lines to paint from: all of a short log, else its beginning and its end.

        What began the latest attempt comes along even if it stands between the two (without it a
        result of an earlier attempt would count), and so does the last evaluation.
        Also returns the size of what was skipped between them, in bytes.
        """
        lines, start = last_lines(self._path, TAIL_BYTES)
        if start == 0:
            self._file = 0
            return lines, 0
        head = Tail(self._path)
        first = head.read(min(HEAD_BYTES, start))
        # Steps at the head would draw a line to the tail's, over a gap of thousands.
        opening = [line for line in first if b'"step_done"' not in line]
        self._look_between(head.offset, start)
        if lines:
            # Where the tail is one line too long for it, `start` is within that line.
            self._to = start
        opening += [line for _, line in sorted(self._between.values())]
        return opening + lines, max(0, start - head.offset)

    def _look_between(self, after: int, before: int) -> None:
        """The last of each kind that is needed; those of another file, or head, are forgotten."""
        try:
            file = self._path.stat().st_ino
        except OSError:
            file = 0
        if (file, after) != (self._file, self._from) or before < self._to:
            self._file, self._from, self._to, self._between = file, after, after, {}
        for kind in _NEEDED_FROM_BETWEEN:
            found = last_line_with(self._path, kind, after=self._to, before=before)
            if found is not None:
                self._between[kind] = found
