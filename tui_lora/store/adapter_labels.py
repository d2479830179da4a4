"""labels.json in an adapter's folder: what its classifier's outputs mean, in their order."""

from __future__ import annotations

import json
from pathlib import Path

from tui_lora.core.text import clean

NAME = "labels.json"
_MAX_BYTES = 4 << 20


def write_labels(folder: Path, labels: tuple[str, ...]) -> None:
    """Raises OSError."""
    text = json.dumps(list(labels), ensure_ascii=False, indent=1)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read_labels(folder: Path) -> tuple[str, ...]:
    """The labels, clean; none where `folder` holds no classifier or they cannot be read."""
    try:
        path = folder / NAME
        if path.stat().st_size > _MAX_BYTES:
            return ()
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ()
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        return ()
    return tuple(clean(label) for label in found)
