"""The terminal's bell when a run that was seen running has ended: many look elsewhere meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from textual.app import App

if TYPE_CHECKING:
    from tui_lora.ui.state import RunNow

_RUNNING: WeakKeyDictionary[App[object], Path] = WeakKeyDictionary()
"""The folder of the run that an app last saw running."""


def ring(app: App[object], run: RunNow | None) -> None:
    """Tell it what the chosen run does now; it rings once for each run's end."""
    if run is None:
        return
    if run.status.alive:
        _RUNNING[app] = run.paths.folder
    elif _RUNNING.get(app) == run.paths.folder:
        del _RUNNING[app]
        app.bell()
