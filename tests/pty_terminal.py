"""The real app under a real pseudo-terminal: keys in, screen and byte counts out."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil
import pyte

# What a modern terminal answers to Textual's questions: synchronized output is supported.
_ASKS_SYNC = b"\x1b[?2026$p"
_ANSWERS_SYNC = b"\x1b[?2026;2$y"


@dataclass(frozen=True)
class Write:
    """Bytes that reached the terminal, and when (monotonic seconds)."""

    at: float
    data: bytes


class Terminal:
    """Runs `python -m tui_lora.cli ARGUMENTS` (or another program) in a pty of `columns` x `rows`.

    A thread reads all that comes and only notes when, so that the app never waits for us; the
    screen is drawn from that when somebody looks, since drawing takes longer than reading.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        columns: int = 120,
        rows: int = 40,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
        program: Sequence[str] = ("-m", "tui_lora.cli"),
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.writes: list[Write] = []
        self._drawn = 0
        self.exit_code: int | None = None
        self.reading = threading.Event()
        """Unset, nothing is read, as by a connection that stalls."""
        self.reading.set()
        self.started = time.monotonic()
        env = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            **(environment or {}),
        }
        for name in ("LINES", "COLUMNS", "CI", "NO_COLOR"):
            if name not in (environment or {}):
                env.pop(name, None)
        command = [sys.executable, *program, *arguments]
        pid, self._master = pty.fork()
        if pid == 0:
            if cwd is not None:
                os.chdir(cwd)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(command[0], command, env)
        self.pid = pid
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, keys: str) -> float:
        """Type; returns when (monotonic seconds)."""
        at = time.monotonic()
        os.write(self._master, keys.encode())
        return at

    def text(self) -> str:
        """The screen as it stands, a line a row."""
        while self._drawn < len(self.writes):
            self._draw_next()
        return self._shown()

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> float:
        """Wait until the screen matches the regular expression.

        Returns when the bytes came that made it match (monotonic seconds).
        """
        wanted = re.compile(pattern)
        return self._wait(
            lambda: bool(wanted.search(self._shown())), f"{pattern!r} did not appear", timeout_s
        )

    def wait_gone(self, pattern: str, timeout_s: float = 60.0) -> float:
        """Wait until the screen no longer matches; returns when the bytes came that did it."""
        wanted = re.compile(pattern)
        return self._wait(
            lambda: not wanted.search(self._shown()), f"{pattern!r} stayed", timeout_s
        )

    def bytes_between(self, start: float, end: float) -> int:
        return sum(len(write.data) for write in list(self.writes) if start <= write.at < end)

    def output(self) -> bytes:
        """Every byte that reached the terminal."""
        return b"".join(write.data for write in list(self.writes))

    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        os.close(self._master)
        self._master = -1

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for the process to end; its exit code, negative for a signal."""
        deadline = time.monotonic() + timeout_s
        while self.exit_code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.exit_code = os.waitstatus_to_exitcode(status)
                break
            assert time.monotonic() < deadline, f"it did not end:\n{self.text()}"
            time.sleep(0.01)
        return self.exit_code

    def close(self) -> None:
        if self.exit_code is None:
            done, _ = os.waitpid(self.pid, os.WNOHANG)
            if not done:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.exit_code = -9
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, reached: Callable[[], bool], otherwise: str, timeout_s: float) -> float:
        if reached():
            return time.monotonic()
        deadline = time.monotonic() + timeout_s
        while True:
            if self._drawn < len(self.writes):
                write = self._draw_next()
                if reached():
                    return write.at
                continue
            ended = not self._reader.is_alive() and self._drawn == len(self.writes)
            if time.monotonic() > deadline or ended:
                raise AssertionError(f"{otherwise}:\n{self.text()}")
            time.sleep(0.002)

    def _shown(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def _draw_next(self) -> Write:
        write = self.writes[self._drawn]
        self._drawn += 1
        # pyte knows no private questions, so they are taken out before it reads on.
        self._stream.feed(re.sub(rb"\x1b\[[?>=][0-9;]*\$?[a-zA-Z]", _known_modes, write.data))
        return write

    def _read(self) -> None:
        while self._master >= 0:
            self.reading.wait()
            try:
                ready, _, _ = select.select([self._master], [], [], 0.2)
                if not ready:
                    continue
                data = os.read(self._master, 65536)
            except (OSError, ValueError):
                return
            if not data:
                return
            self.writes.append(Write(time.monotonic(), data))
            if _ASKS_SYNC in data:
                os.write(self._master, _ANSWERS_SYNC)


def _known_modes(match: re.Match[bytes]) -> bytes:
    """Keep the cursor and screen modes that pyte draws by; drop the rest."""
    return match.group(0) if re.fullmatch(rb"\x1b\[\?(25|7|6|3)[hl]", match.group(0)) else b""
