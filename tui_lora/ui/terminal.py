"""The terminal itself: what must be set before textual is imported, and what to do when it dies.

Imports no textual: the command line calls this first.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading

from tui_lora.store.doctor_terminal import UNABLE

MIN_COLUMNS = 60
MIN_ROWS = 16
HANGUP_EXIT = 128 + signal.SIGHUP


def prepare_environment() -> None:
    """Set textual's knobs, which it reads when it is imported. The user's own settings win.

    Nothing moves by itself over SSH; $TUI_LORA_MOTION=full brings animations back. Frames are left
    at 60 a second: what changes comes a few times a second at most, so fewer frames save no bytes,
    and a key would wait for the next one (p95 of key to paint: 0.05 s at 60, 0.11 s at 15).
    """
    lively = os.environ.get("TUI_LORA_MOTION", "").lower() == "full"
    os.environ.setdefault("TEXTUAL_FPS", "60")
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "full" if lively else "none")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "1" if lively else "0")


def too_small(columns: int, rows: int) -> str | None:
    """A sentence when a terminal of this size cannot hold a screen, else None."""
    if columns >= MIN_COLUMNS and rows >= MIN_ROWS:
        return None
    return (
        f"the terminal has {columns}x{rows} characters; "
        f"tui-lora needs {MIN_COLUMNS}x{MIN_ROWS} or more."
    )


def terminal_problem() -> str | None:
    """A sentence when there is no terminal to draw on, or too little of one, else None."""
    if not (sys.__stdin__ and sys.__stdin__.isatty()):
        return "there is no terminal to draw on (standard input is not one)."
    if not (sys.__stderr__ and sys.__stderr__.isatty()):
        return "there is no terminal to draw on (standard error, where it is drawn, is not one)."
    kind = os.environ.get("TERM", "")
    if kind in UNABLE:
        said = f"TERM={kind}" if kind else "TERM is not set"
        return f"this terminal cannot be drawn on ({said}); one that can is TERM=xterm-256color."
    try:
        size = os.get_terminal_size(sys.__stderr__.fileno())
    except OSError:
        try:
            size = os.get_terminal_size(sys.__stdin__.fileno())
        except OSError:
            return "the size of this terminal cannot be told."
    return too_small(size.columns, size.lines)


def leave_on_hangup() -> None:
    """End this process when its terminal goes away; textual would read end-of-file in a circle.

    Nothing is lost: the UI saves as it goes, and training belongs to no terminal.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    threading.Thread(target=_wait_for_hangup, name="hangup", daemon=True).start()


def _wait_for_hangup() -> None:
    poll = select.poll()
    # No events asked for: the call sleeps until the kernel reports a hang-up or an error.
    poll.register(0, 0)
    while True:
        for _, event in poll.poll():
            if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                os._exit(HANGUP_EXIT)
