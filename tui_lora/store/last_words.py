"""What a process said last in its log: the reason why it ended, more often than not."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.text import clean


def last_words(log: Path, lines: int = 3) -> str:
    """The last lines of a log in one, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "(no log)"
    kept = [clean(line).strip() for line in text.splitlines() if line.strip()]
    return " · ".join(kept[-lines:]) or "(it said nothing)"
