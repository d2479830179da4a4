"""Shipped run specs to start from: YAML files in the package, the first comment is the reason."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import data_folder
from tui_lora.store.spec_file import parse_data


@dataclass(frozen=True)
class Preset:
    """A partial run spec; model and dataset may be left for the user to choose."""

    name: str
    about: str
    data: dict[str, Any]


def preset_names() -> list[str]:
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read_preset(name: str) -> Preset:
    """The preset called `name`; raises UserError naming the nearest one."""
    names = preset_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise UserError(
            f"there is no preset {clean(name, max_chars=60)!r}.",
            then=f"{hint}Known: {', '.join(names)}.",
        )
    path = _folder() / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    about = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        about.append(line.lstrip("# ").strip())
    return Preset(name, " ".join(about), parse_data(text, where=str(path)))


def _folder() -> Path:
    return data_folder() / "presets"
