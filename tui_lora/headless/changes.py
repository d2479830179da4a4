"""`--set lora.r=16`: settings given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.fields import get, put, read, settings
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean
from tui_lora.store import hooks
from tui_lora.store.preflight import anchored
from tui_lora.store.spec_file import spec_in


def changed(data: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """`data` with each `path=value`; unknown paths are left for the spec to name the right one."""
    known = {setting.path for setting in settings()}
    for change in changes:
        path, equals, text = change.partition("=")
        path = path.strip()
        if not equals:
            raise UserError(
                f"--set {clean(change)!r} has no value.", then="Write --set lora.r=16 and the like."
            )
        data = put(data, path, read(path, text) if path in known else text)
        if path == hooks.SETTING and (command := get(data, path)):
            # Who types it has read it.
            hooks.confirm(command)
    return data


def changes_in(spec: RunSpec, texts: Sequence[str], root: Path) -> dict[str, Any]:
    """The settings of `spec` that each `path=value` gives another value, by path; relative paths
    are taken from the current folder. Raises UserError."""
    before = spec.model_dump(mode="json")
    after = anchored(spec_in(changed(before, texts)), Path.cwd(), root).model_dump(mode="json")
    paths = (setting.path for setting in settings())
    return {path: get(after, path) for path in paths if get(before, path) != get(after, path)}
