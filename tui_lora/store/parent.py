"""parent.json: the checkpoint of another session that a branch was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tui_lora.core.text import one_line
from tui_lora.store.atomic import write_whole
from tui_lora.store.json_file import read_object
from tui_lora.store.paths import SessionPaths


@dataclass(frozen=True)
class Parent:
    """`way` is `exact` or `adapter` (`core/branching.py`), `manifest_sha256` that of the
    checkpoint's manifest, `t` unix seconds."""

    session: str
    step: int
    way: str = "exact"
    manifest_sha256: str | None = None
    t: float | None = None

    @property
    def words(self) -> str:
        """`branched from first at step 1,200`."""
        what = "the adapter of " if self.way == "adapter" else ""
        return f"branched from {what}{self.session} at step {self.step:,}"


def write_parent(file: Path, parent: Parent) -> None:
    """Raises OSError."""
    write_whole(file, json.dumps(asdict(parent), indent=1) + "\n")


def read_parent(paths: SessionPaths) -> Parent | None:
    """None for a session that is no branch, and where it cannot be read."""
    found = read_object(paths.parent)
    if found is None:
        return None
    name, step, way = found.get("session"), found.get("step"), found.get("way")
    if not isinstance(name, str) or not name or type(step) is not int or step < 0:
        return None
    sha256, t = found.get("manifest_sha256"), found.get("t")
    return Parent(
        one_line(name, max_chars=64),
        step,
        "adapter" if way == "adapter" else "exact",
        sha256 if isinstance(sha256, str) else None,
        float(t) if isinstance(t, int | float) else None,
    )
