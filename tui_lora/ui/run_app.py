"""Shows the TUI from the shell, and says on leaving what goes on without it."""

from __future__ import annotations

import sys
from pathlib import Path

from tui_lora.core.text import clean
from tui_lora.ui import left_words
from tui_lora.ui.app import TuiLora
from tui_lora.ui.keymap import place
from tui_lora.ui.terminal import leave_on_hangup


def run_app(root: Path, *, open_session: str | None = None, screen: str | None = None) -> int:
    """Show the TUI until the user leaves; returns the exit code. Raises UserError before that."""
    session = None
    if open_session is not None:
        from tui_lora.store.sessions import find

        session = find(root, open_session)
    leave_on_hangup()
    app = TuiLora(root, session=session, start=screen if screen and place(screen) else "")
    app.run()
    for words in left_words.words_of(app):
        sys.stdout.write(f"{clean(words)}\n")
    run = app.run_now
    if run is not None and run.status.alive:
        name, step, total = run.paths.name, run.view.step, run.view.total_steps
        at = f" (step {step} of {total})" if total else ""
        sys.stdout.write(f"{name} goes on{at}. tui-lora comes back to it,\n")
        sys.stdout.write(f"tui-lora watch {name} follows it in the shell.\n")
    return app.return_code or 0
