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
    paths = session_of(adapter)
    if paths is None:
        return ""
    try:
        trained = spec_now(paths).quantization.scheme
    except UserError:
        return ""
    words = counts_twice(adapter, trained, stored)
    return f"{words}, and it answers otherwise than it learned" if words else ""


def _started_from(paths: SessionPaths, start: str | None) -> Path | None:
    if start is None:
        return None
    folder, parent = expanded(start).absolute(), read_parent(paths)
    if folder == paths.start.absolute() and parent is not None:
        return SessionPaths(paths.folder.with_name(parent.session)).adapter
    return folder
