"""The run spec that the user is putting together, kept so that a lost connection costs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import config_folder


def _path() -> Path:
    return config_folder() / "draft.json"


def read_draft() -> tuple[str, dict[str, Any]]:
    """The draft's name and its nested settings; empty where there is none that can be read."""
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "", {}
    if not isinstance(stored, dict):
        return "", {}
    name, data = stored.get("name"), stored.get("spec")
    return name if isinstance(name, str) else "", data if isinstance(data, dict) else {}


def write_draft(name: str, data: dict[str, Any]) -> None:
    """Store the draft whole; raises OSError where the config folder cannot be written."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    write_whole(_path(), json.dumps({"name": name, "spec": data}, indent=2, default=str) + "\n")
