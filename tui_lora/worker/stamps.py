"""Whether the files of a model or an adapter are still those that something was found out from."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.spec import RunSpec
from tui_lora.store.local_model import local_place
from tui_lora.store.paths import sessions_root
from tui_lora.store.start_adapter import start_place


def stamp_at(place: str) -> Hashable:
    """Another one as soon as a file beside the weights is changed, such as a chat template."""
    folder = Path(place)
    try:
        files = [folder] if folder.is_file() else sorted(folder.glob("*.j*"))
        return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except OSError:
        return ()


def stamp_of(spec: RunSpec) -> Hashable:
    """The same for the model of a run and the adapter that it starts from; one for all that are not
    on this machine."""
    found = []
    with suppress(UserError):
        found.append(stamp_at(str(local_place(spec.model))))
    with suppress(UserError):
        start = spec.lora.start_from
        place = None if start is None else start_place(start, sessions_root()).folder
        found.append(() if place is None else (str(place), stamp_at(str(place))))
    return tuple(found)
