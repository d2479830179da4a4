"""A row for each conversation that was kept."""

from __future__ import annotations

import time

from textual.content import Content

from tui_lora.core.text import UNKNOWN, one_line
from tui_lora.store.kept_chats import Head
from tui_lora.ui.ink import BRIGHT, DIM, STRONG, TIGHT, dim, ink, join
from tui_lora.ui.widgets.table import Column, Row

COLUMNS = (
    Column("when", 16),
    Column("turns", 5, numeric=True),
    Column("session", 16, middle=True, from_width=78),
    Column("voices", 24, middle=True, from_width=100),
    Column("first words", 0),
)
ALONE = "(no session)"


def conversation_row(head: Head, *, now: bool) -> Row:
    """`now`: it is the one that is open."""
    look = STRONG if now else BRIGHT
    words: Content = ink(one_line(head.first) or UNKNOWN, look)
    if head.bad:
        words = join(("! ", TIGHT), words)
    return Row(
        str(head.path),
        (
            dim(moment_words(head.touched)),
            ink(f"{head.turns:,}"),
            ink(head.session or ALONE, BRIGHT if head.session else DIM),
            dim(", ".join(one_line(label) for label in head.labels)),
            words,
        ),
    )


def moment_words(moment: float | None) -> str:
    """Unix seconds as a date and a time of day here."""
    if moment is None:
        return UNKNOWN
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    except (OverflowError, OSError, ValueError):
        return UNKNOWN
