"""`--set lora.r=16`: settings given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.fields import put, read, settings
from tui_lora.core.text import clean


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
    return data
