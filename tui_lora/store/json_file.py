"""Small JSON files of others, read without trusting them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_MAX_BYTES = 64 << 20


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or none that can be read."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
