"""The visual language in small pieces: labels dim, values bright, bars thin, columns fixed.

Everything here gives `Content`, which is text and styles apart: nothing that comes from outside is
ever read as markup. Styles are the theme's roles (`core/themes.py`), written `$dim`, `$accent` ….
"""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

Piece = Content | str | tuple[str, str]

DIM = "$dim"
FAINT = "$faint"
BRIGHT = "$foreground"
STRONG = "bold $foreground"
ACCENT = "$accent"
GOOD = "$good"
TIGHT = "$tight"
WRONG = "$wrong"

GAP = "   "


def ink(text: str, style: str = BRIGHT) -> Content:
    """`text`, literally, in a style."""
    return Content.styled(text, style)


def dim(text: str) -> Content:
    return Content.styled(text, DIM)


def join(*pieces: Piece) -> Content:
    """Pieces one after the other; a tuple is text and style."""
    return Content.assemble(*pieces)


def left(piece: Piece, width: int) -> Content:
    """The piece at the left of a column of `width` cells, cut with an ellipsis."""
    content = join(piece)
    return content.truncate(width, ellipsis=True, pad=True)


def right(piece: Piece, width: int) -> Content:
    """The piece at the right of a column of `width` cells."""
    content = join(piece)
    if content.cell_length > width:
        return content.truncate(width, ellipsis=True)
    return content.pad_left(width - content.cell_length)


def between(start: Content, end: Content, width: int) -> Content:
    """`start` at the left and `end` at the right of one row; the start gives way, and a gap stays
    between them."""
    room = width - end.cell_length
    if room < 1:
        return end.truncate(width, ellipsis=True)
    gap = min(2, room - 1) if end.cell_length else 0
    return join(left(start, room - gap), " " * gap, end)


def bar(share: float | None, width: int, style: str = ACCENT) -> Content:
    """A thin bar, half a cell exact: `━━━━╸─────`. An unknown share is an empty one."""
    width = max(1, width)
    halves = 0 if share is None else round(min(max(share, 0.0), 1.0) * width * 2)
    if share is not None and share > 0 and halves == 0:
        halves = 1
    full, half = divmod(halves, 2)
    filled = "━" * full + ("╸" if half else "")
    return join((filled, style), ("─" * (width - len(filled)), FAINT))


def rule(width: int) -> Content:
    return ink("─" * width, FAINT)


def fitting(pieces: list[Content], width: int, gap: str = GAP) -> Content:
    """As many pieces as fit into one row, from the first on."""
    row = Content("")
    for piece in pieces:
        longer = join(row, gap, piece) if row.plain else piece
        if longer.cell_length > width:
            break
        row = longer
    return row


def keys_row(keys: Iterable[tuple[str, str]], width: int = 0) -> Content:
    """`Enter edits   Esc leaves`: keys and what each does, of which the last give way where
    `width` is given and has no room."""
    pieces = [join((key, STRONG), dim(f" {words}")) for key, words in keys]
    return fitting(pieces, width) if width else Content(GAP).join(pieces)
