"""What the user chose once and expects to find again: the theme, folders with models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import config_folder


@dataclass
class Preferences:
    theme: str = "forge"
    model_folders: list[str] = field(default_factory=list)


def _path() -> Path:
    return config_folder() / "preferences.json"


def read_preferences() -> Preferences:
    """The stored preferences; whatever cannot be read falls back to the default."""
    try:
        data = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return Preferences()
    if not isinstance(data, dict):
        return Preferences()
    known = Preferences()
    if isinstance(data.get("theme"), str):
        known.theme = data["theme"]
    folders = data.get("model_folders")
    if isinstance(folders, list):
        known.model_folders = [str(folder) for folder in folders]
    return known


def write_preferences(preferences: Preferences) -> None:
    """Store the preferences; raises OSError where the config folder cannot be written."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    write_whole(_path(), json.dumps(asdict(preferences), indent=2) + "\n")
