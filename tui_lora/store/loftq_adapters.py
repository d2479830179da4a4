"""Whether an adapter began with what quantization rounded away of its base."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.store.adapter_files import CONFIG
from tui_lora.store.adapters import session_of
from tui_lora.store.json_file import read_object
from tui_lora.store.parent import read_parent
from tui_lora.store.paths import SessionPaths, expanded
from tui_lora.store.spec_now import spec_now
from tui_lora.store.start_adapter import start_place

_MOST_STARTS = 20


def of_loftq(adapter: Path) -> bool:
    """True where a part of the adapter takes back what was rounded away (LoftQ): on the weights as
    they were before, that part counts twice. Its own files tell, else the session that it is a part
    of, else the sessions that this one started from; never raises."""
    folder: Path | None = adapter
    for _ in range(_MOST_STARTS):
        if folder is None:
            return False
        config = read_object(folder / CONFIG) or {}
        if str(config.get("init_lora_weights")).lower() == "loftq":
            return True
        paths = session_of(folder)
        if paths is None:
            return False
        try:
            lora = spec_now(paths).lora
        except UserError:
            return False
        if lora.variant == "loftq":
            return True
        folder = _started_from(paths, lora.start_from)
    return False


def merges_rounded(adapter: Path) -> bool:
    """True where an adapter is merged into the weights as quantization rounded them: one of LoftQ,
    unless the run that it is of learned on a base that was not rounded to 4 bits."""
    return of_loftq(adapter) and _learned_on(adapter) not in ("none", "int8")


def counts_twice(adapter: Path, trained: str, stored: str) -> str:
    """What to say of an adapter that learned on a base in the scheme `trained`, where the base is
    `stored` otherwise; empty where that is no matter beyond a little rounding."""
    if stored == trained or not of_loftq(adapter):
        return ""
    now = "not quantized" if stored == "none" else f"stored in {stored}"
    return (
        f"the adapter began with what {trained} rounded away of its base (loftq), and the base is "
        f"{now} here: that part counts twice"
    )


def counts_twice_in_chat(adapter: Path, stored: str) -> str:
    """The same for an adapter that is talked to; empty where nobody wrote down how its base was
    stored."""
    trained = _learned_on(adapter)
    if trained is None:
        return ""
    words = counts_twice(adapter, trained, stored)
    return f"{words}, and it answers otherwise than it learned" if words else ""


def _learned_on(adapter: Path) -> str | None:
    """The scheme in which its run stored the base; None where nobody wrote it down."""
    paths = session_of(adapter)
    try:
        return None if paths is None else spec_now(paths).quantization.scheme
    except UserError:
        return None


def _started_from(paths: SessionPaths, start: str | None) -> Path | None:
    if start is None:
        return None
    folder, parent = expanded(start).absolute(), read_parent(paths)
    root = paths.folder.parent
    if folder == paths.start.absolute() and parent is not None:
        return SessionPaths(root / parent.session).adapter
    try:
        return start_place(start, root).folder
    except UserError:
        # Where its files are gone, the session that they were a part of still tells.
        return folder if "/" in start else SessionPaths(root / start).adapter
