"""`report`: a session on one page of Markdown."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.text import clean, size
from tui_lora.headless.follow import to_stdout
from tui_lora.store import session_report, sessions


def report(root: Path, session: str, *, out: str | None) -> int:
    """Write it and say where it stands."""
    written = session_report.write(sessions.find(root, session), out)
    to_stdout(f"{clean(str(written.path))}  {size(written.size_bytes)}")
    if written.curve is not None:
        to_stdout(f"{clean(str(written.curve))}  {size(written.curve.stat().st_size)}")
    return 0
