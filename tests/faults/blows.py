"""What befalls a worker from inside: killed at one of its writes, or given no room on the disk.

Each is a function for `workers.start(first=...)`: done in the worker's process, before its work.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")
"""Calls of `os` by which what is written comes to count, or goes."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DieAtWrite:
    """Killed right before the `nth` of its writes below `folder`, from 1."""

    folder: str
    nth: int

    def __call__(self) -> None:
        seen = 0

        def watched(really: Callable[..., Any]) -> Callable[..., Any]:
            def call(what: Any, *more: Any, **named: Any) -> Any:
                nonlocal seen
                path = f"/proc/self/fd/{what}" if isinstance(what, int) else os.fspath(what)
                if os.path.realpath(path).startswith(self.folder):
                    seen += 1
                    if seen == self.nth:
                        _die()
                return really(what, *more, **named)

            return call

        for name in WRITES:
            setattr(os, name, watched(getattr(os, name)))


@dataclass(frozen=True)
class DieAtName:
    """Killed right before something is called `name` by a rename, `past` times after the first."""

    name: str
    past: int = 0

    def __call__(self) -> None:
        left = self.past

        def watched(really: Callable[..., Any]) -> Callable[..., Any]:
            def call(source: Any, target: Any, *more: Any, **named: Any) -> Any:
                nonlocal left
                if Path(os.fspath(target)).name == self.name:
                    left -= 1
                    if left < 0:
                        _die()
                return really(source, target, *more, **named)

            return call

        os.rename = watched(os.rename)
        os.replace = watched(os.replace)


@dataclass(frozen=True)
class SmallFiles:
    """No file of it may grow beyond so many bytes: what a full disk is where none can be mounted.
    The answer is an OSError (EFBIG), as with a full disk (ENOSPC)."""

    most_bytes: int

    def __call__(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.most_bytes, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class JoinGroup:
    """Into a control group, so that its limit of memory holds for the worker."""

    folder: str

    def __call__(self) -> None:
        (Path(self.folder) / "cgroup.procs").write_text(str(os.getpid()))


class EveryStep:
    """Every step is told, not two a second: so that it is known which was the last."""

    def __call__(self) -> None:
        from tui_lora.worker import reporter

        reporter.STEP_EVERY_S = 0.0


class SmallDisk:
    """A disk of memory with so many KiB, mounted at a folder; `fill` leaves no room on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / ".ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def read_only(self) -> None:
        _mount("-o", "remount,ro", str(self.folder))


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[SmallDisk | None]:
    """Mounted while this is open; None where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _mount("-t", "tmpfs", "-o", f"size={kib}k,mode=700", "tmpfs", str(folder)):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> bool:
    if shutil.which("mount") is None:
        return False
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0
