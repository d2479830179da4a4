"""resolved.yaml as a viewer reads it: what a session's latest attempt ran on."""

from __future__ import annotations

from typing import Any

import yaml

from tui_lora.core.text import clean, one_line
from tui_lora.store.paths import SessionPaths


def read_resolved(paths: SessionPaths) -> dict[str, Any]:
    """All that stands in it; empty before the first attempt, and where it cannot be read."""
    try:
        data = yaml.safe_load(paths.resolved.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) else {}


def model_commit(paths: SessionPaths) -> str | None:
    """The commit of the Hub model that it was trained on; None for any other, and if unknown."""
    commit = read_resolved(paths).get("model_revision")
    return commit if isinstance(commit, str) and commit else None


def became(paths: SessionPaths) -> dict[str, str]:
    """What each `auto` became in the latest attempt, by its path; empty before the first."""
    chosen = read_resolved(paths).get("chosen")
    if not isinstance(chosen, dict):
        return {}
    return {
        str(path): one_line(clean(str(choice["value"])), max_chars=200)
        for path, choice in chosen.items()
        if isinstance(choice, dict) and "value" in choice
    }
