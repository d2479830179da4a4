"""Whether the base that an adapter is put on is the one that it was trained on."""

from __future__ import annotations

import re
from pathlib import Path

from tui_lora.core.changed import of_base
from tui_lora.core.spec import ModelSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store.adapter_files import CONFIG
from tui_lora.store.adapters import session_of
from tui_lora.store.catalog import is_of_hub
from tui_lora.store.changed_since import began
from tui_lora.store.file_marks import base_files, marks_beside
from tui_lora.store.hub_snapshots import snapshot_at
from tui_lora.store.json_file import read_object

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHOWN = 10


def moved_on(adapter: Path, base: ModelSpec) -> str:
    """A sentence that says how the base which is loaded is not the one that the adapter was trained
    on; empty where it is, and where nobody wrote down which that was.

    What tells: the commit or the files' digests in a session's resolved.yaml, else the name and the
    revision in adapter_config.json.
    """
    config = read_object(adapter / CONFIG) or {}
    paths = session_of(adapter)
    before = began(paths) if paths is not None else None
    named = config.get("base_model_name_or_path")
    name = one_line(named, max_chars=80) if isinstance(named, str) else ""
    if not is_of_hub(base.id):
        return _other_files(before.base, base) if before is not None and before.base else ""
    if name and is_of_hub(name) and name != base.id:
        return (
            f"it was trained on {name}, and {clean(base.id)} is loaded: its answers may mean little"
        )
    trained = (before.model_commit if before is not None else None) or config.get("revision")
    snapshot = snapshot_at(base.id, base.revision)
    loaded = snapshot.name if snapshot is not None else base.revision
    if not isinstance(trained, str) or not loaded or trained in (loaded, base.revision):
        return ""
    if not _COMMIT.fullmatch(trained):
        pinned = snapshot_at(base.id, trained)
        if pinned is None or pinned.name == loaded:
            return ""
        trained = pinned.name
    return (
        f"its base has moved on: it was trained on {clean(base.id)} at "
        f"{clean(trained)[:_SHOWN]}, and {clean(loaded)[:_SHOWN]} is loaded"
    )


def _other_files(before: tuple[object, ...], base: ModelSpec) -> str:
    found = of_base(before, marks_beside(base_files(base), before))  # type: ignore[arg-type]
    weighty = [one for one in found if one.how == "refuse"]
    if not weighty:
        return ""
    one = weighty[0]
    return (
        f"its base has moved on: {one_line(one.was)} when it was trained, and now "
        f"{one_line(one.now)}"
    )
