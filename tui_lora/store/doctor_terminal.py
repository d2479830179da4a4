"""The doctor on the terminal: what it says of itself, and what stands between it and us."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator, Mapping

from tui_lora.core.doctor import Check
from tui_lora.core.text import clean, one_line

COLUMNS, LINES = 80, 24
UNABLE = ("", "dumb", "unknown")
"""What TERM says where only lines of text can be shown."""


def terminal(environment: Mapping[str, str], size: tuple[int, int] | None) -> Iterator[Check]:
    """`size` in columns and rows; None where there is no terminal at all."""
    term = environment.get("TERM", "")
    if size is None:
        yield Check("terminal", None, "the output goes to no terminal")
    else:
        width, height = size
        detail = f"{clean(term) or 'no TERM'}, {width}x{height}, {colours(environment)}"
        if term in UNABLE:
            yield Check("terminal", False, detail, "Set TERM, for instance to xterm-256color.")
        elif width < COLUMNS or height < LINES:
            fix = f"Make it at least {COLUMNS}x{LINES}."
            yield Check("terminal", False, detail, fix)
        else:
            fewer = colours(environment) not in ("truecolor", _NONE)
            hint = "If yours shows 24-bit colour: export COLORTERM=truecolor" if fewer else ""
            yield Check("terminal", None if fewer else True, detail, hint)
    yield from between(environment)


def between(environment: Mapping[str, str]) -> Iterator[Check]:
    """tmux and screen, which hand on to the terminal only what they are told to."""
    term = environment.get("TERM", "")
    if environment.get("TMUX"):
        if not term.startswith(("tmux", "screen")):
            yield Check(
                "tmux",
                None,
                f"TERM is {one_line(term)}, which is not what tmux speaks",
                "set -g default-terminal tmux-256color   (in ~/.tmux.conf)",
            )
        else:
            yield Check(
                "tmux",
                None,
                "hands on 24-bit colour, and what is copied, only when it is told to",
                "set -as terminal-features ',*:RGB'   and   set -g set-clipboard on   "
                "(in ~/.tmux.conf)",
            )
    elif environment.get("STY"):
        yield Check(
            "screen",
            None,
            "GNU screen hands on 256 colours and nothing that is copied",
            "tmux hands on both.",
        )


def encoding(name: str | None = None) -> Iterator[Check]:
    # Not locale.getpreferredencoding: Python in UTF-8 mode would hide what the terminal is told.
    name = name or locale.getencoding()
    ok = name.lower().replace("-", "") == "utf8"
    yield Check("locale", ok, name, "" if ok else "Set LANG=C.UTF-8, else lines become ?s.")


_NONE = "no colour ($NO_COLOR)"


def colours(environment: Mapping[str, str]) -> str:
    if environment.get("NO_COLOR"):
        return _NONE
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    return "256 colours" if "256" in environment.get("TERM", "") else "16 colours"


def terminal_size() -> tuple[int, int] | None:
    """Columns and rows of the terminal behind any of our streams; output may go to a file."""
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            if stream is not None and stream.isatty():
                found = os.get_terminal_size(stream.fileno())
                return found.columns, found.lines
        except (OSError, ValueError):
            continue
    return None
