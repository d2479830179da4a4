"""What the user chose once and expects to find again: the theme, folders, a card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import config_folder


@dataclass
class Preferences:
    """`card` is the one last asked about, which a machine without any goes by; `corrections` the
    file that takes corrected answers, empty for the session's own."""

    theme: str = "forge"
    card: str = ""
    corrections: str = ""
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
    if isinstance(data.get("card"), str):
        known.card = data["card"]
    if isinstance(data.get("corrections"), str):
        known.corrections = data["corrections"]
    folders = data.get("model_folders")
    if isinstance(folders, list):
        known.model_folders = [str(folder) for folder in folders]
    return known


def write_preferences(preferences: Preferences) -> None:
    """Store the preferences; raises OSError where the config folder cannot be written."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    write_whole(_path(), json.dumps(asdict(preferences), indent=2) + "\n")


def remember(**values: str) -> None:
    """Store other values of some of them; raises OSError as `write_preferences` does."""
    write_preferences(replace(read_preferences(), **values))  # type: ignore[arg-type]
