"""The doctor on disks: room, what kind they are, whether locks and renames hold there."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.doctor import Check
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line, size
from tui_lora.store import lock
from tui_lora.store.atomic import write_whole
from tui_lora.store.sessions import listed
from tui_lora.store.spec_file import read_spec
from tui_lora.store.theme_files import read_themes

_FREE_NEEDED = 2 << 30
_FREE_FILES_NEEDED = 1000

_DOUBTFUL = {
    "nfs": "over the network: locks and renames hold as far as its server keeps them",
    "cifs": "over the network: locks and renames hold as far as its server keeps them",
    "smb3": "over the network: locks and renames hold as far as its server keeps them",
    "9p": "shared with another machine: locks may not be seen there",
    "virtiofs": "shared with another machine: locks may not be seen there",
    "fuse": "in user space: whether locks and renames hold is up to its program",
    "overlay": "a container's own: it goes when the container is removed",
    "tmpfs": "in memory: it goes at the next start, and takes memory",
    "ramfs": "in memory: it goes at the next start, and takes memory",
}
"""Kinds of file systems by the beginning of their names, and what to know of them."""


@dataclass(frozen=True)
class Mount:
    place: str
    kind: str
    options: str


def mount_of(path: Path, mounts: str) -> Mount | None:
    """The mount that holds the absolute `path`, by the text of /proc/self/mountinfo."""
    best: Mount | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()[:1]
        if len(fields) < 6 or not kind:
            continue
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = path == Path(place) or Path(place) in path.parents
        # Of two mounts at one place the later lies on top.
        if inside and (best is None or len(place) >= len(best.place)):
            best = Mount(place, kind[0], fields[5])
    return best


def nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there already."""
    for place in (folder, *folder.parents):
        try:
            place.stat()
        except OSError:
            continue
        return place
    return Path("/")


def writable(folder: Path) -> bool:
    place = nearest(folder)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def sessions_folder(root: Path) -> Iterator[Check]:
    """Whether sessions can be kept there: writing, renaming, locking, tried in a scratch folder."""
    shown = clean(str(root))
    fix = "Choose another with --sessions FOLDER or $TUI_LORA_SESSIONS."
    name = "sessions folder"
    place = nearest(root)
    dangling = root.is_symlink() and not root.exists()
    if dangling or (place == root and not root.is_dir()) or not writable(root):
        why = "is a link to nothing" if dangling else "cannot be written"
        yield Check(name, False, f"{shown} {why}", fix)
        return
    yield Check(name, True, f"{shown} can be written")
    try:
        with tempfile.TemporaryDirectory(prefix=".tui-lora-doctor-", dir=place) as scratch:
            yield _tried(Path(scratch), fix)
    except OSError as error:
        yield Check(name + " at work", False, f"{shown}: {error.strerror}", fix)


def _tried(scratch: Path, fix: str) -> Check:
    name = "locks and renames"
    try:
        write_whole(scratch / "whole", "1\n")
        write_whole(scratch / "whole", "2\n")
    except OSError as error:
        said = f"a file cannot be replaced whole ({error.strerror})"
        return Check(name, False, said, fix)
    problem = lock.trial(scratch / "lock")
    if problem is not None:
        said = f"files cannot be locked ({problem}), so nothing could tell whether a run lives"
        return Check(name, False, said, fix)
    return Check(name, True, "hold where sessions are")


def sessions(root: Path) -> Iterator[Check]:
    """Sessions whose spec cannot be read."""
    found = listed(root)
    broken = []
    for paths in found:
        try:
            read_spec(paths.spec)
        except UserError as error:
            broken.append((paths.name, one_line(str(error), max_chars=160)))
    if not broken:
        yield Check("sessions", True if found else None, f"{len(found)} there")
        return
    first, why = broken[0]
    names = ", ".join(name for name, _ in broken[:5])
    more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
    yield Check(
        "sessions",
        False,
        f"{len(broken)} of {len(found)} cannot be read: {names}{more}. {first}: {why}",
        "Mend their run.yaml, or move their folders away.",
    )


def disk(name: str, folder: Path, mounts: str) -> Iterator[Check]:
    """Room, room for files, and the kind of disk below `folder`."""
    name = f"disk ({name})"
    place = nearest(folder)
    try:
        free = shutil.disk_usage(place).free
        files = os.statvfs(place)
    except OSError as error:
        yield Check(name, None, f"{clean(str(folder))}: {error.strerror}")
        return
    mount = mount_of(place.resolve(), mounts)
    kind = f", {one_line(mount.kind)}" if mount else ""
    detail = f"{size(free)} free at {clean(str(folder))}{kind}"
    if mount is not None and "ro" in mount.options.split(","):
        yield Check(name, False, f"{detail}, mounted read-only", "Choose another folder.")
    elif free < _FREE_NEEDED:
        yield Check(name, False, detail, "Free some room, 2 GB or more.")
    elif files.f_files and files.f_favail < _FREE_FILES_NEEDED:
        said = f"{detail}; room for {files.f_favail:,} more files only"
        yield Check(name, False, said, "Delete files: this disk has used up its inodes.")
    else:
        note = doubt(mount.kind) if mount else ""
        yield Check(name, True, f"{detail} ({note})" if note else detail)


def doubt(kind: str) -> str:
    """What to know of a kind of file system, or nothing."""
    return next((said for start, said in _DOUBTFUL.items() if kind.startswith(start)), "")


def themes() -> Iterator[Check]:
    found = read_themes()
    if not found.problems:
        yield Check("themes", True, f"{len(found.specs)} read")
        return
    count = f"{len(found.problems)} problems, the first: " if found.problems[1:] else ""
    fix = "Mend or delete the file; themes/ has examples."
    yield Check("themes", False, f"{count}{found.problems[0]}", fix)
