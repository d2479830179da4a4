"""A row as the model will be fed it: every token, what is learned, what is lost.

Drawn from what the trainer's own data loader made; nothing is reckoned here.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import TYPE_CHECKING, NamedTuple

from textual.content import Content

from tui_lora.core.text import clean, one_line
from tui_lora.ui.ink import (
    ACCENT,
    DIM,
    FAINT,
    TIGHT,
    dim,
    ink,
    join,
    right,
)

if TYPE_CHECKING:
    from tui_lora.core.inspect import Piece, RowFed, Sequence

HEAD_CHARS = 14_000
TAIL_CHARS = 6_000
LOST_CHARS = 4_000
FEWEST_SHARED = 8
"""A beginning that two sequences share is told in a line from so many tokens on."""

MARGIN = "▌"
LOST_MARGIN = "┊"
BETWEEN = "│"
GUTTER = 6
_MASKED = {False: DIM, True: f"bold {DIM}"}
_TRAINED = {False: "underline $foreground", True: f"underline {ACCENT}"}
_LOST = f"strike {DIM}"


class _Token(NamedTuple):
    """`text` as it came: it is made harmless once it is drawn, since most of a huge row is not."""

    text: str
    style: str
    trained: bool = False
    cut: bool = False


def pages(fed: RowFed) -> int:
    """How many views a row has: one a passage; a chosen and a rejected answer are seen at once."""
    return 1 if len(fed.sequences) == 1 or _judged(fed) else len(fed.sequences)


def _judged(fed: RowFed) -> bool:
    return {sequence.name for sequence in fed.sequences} == {"chosen", "rejected"}


def fed_rows(fed: RowFed, width: int, *, page: int = 0, boundaries: bool = False) -> list[Content]:
    """The row in `width` cells. What is trained has a margin, is bright and underlined.

    `boundaries` tells each token from the next, with its number at the left.
    """
    rows: list[Content] = []
    if fed.label:
        learned = (one_line(fed.label, max_chars=200), f"bold {_TRAINED[False]}")
        rows.append(join((MARGIN, ACCENT), dim(" label  "), learned))
    # Of a labelled row it is no warning that its tokens are not learned.
    mark, style = ("  ", DIM) if fed.label else ("! ", TIGHT)
    rows += [ink(f"{mark}{one_line(note)}", style) for note in fed.notes]
    if rows:
        rows.append(Content(""))
    shown = fed.sequences if _judged(fed) else fed.sequences[page : page + 1]
    for at, sequence in enumerate(shown):
        shared = _shared(shown[0].pieces, sequence.pieces) if at else 0
        if len(shown) > 1:
            rows += [Content("")] if at else []
            rows.append(_heading(sequence))
        if shared:
            rows.append(dim(f"  ⋯ the same {shared:,} tokens as above"))
        rows += _sequence(sequence, width, shared, boundaries)
    if fed.choices:
        rows.append(Content(""))
    return rows + [dim(f"  {one_line(choice)}") for choice in fed.choices]


def _heading(sequence: Sequence) -> Content:
    counts = f"   {sequence.tokens:,} tokens, {sequence.trained_tokens:,} trained"
    return join((one_line(sequence.name), f"bold {ACCENT}"), dim(counts))


def _shared(first: Listed[Piece], second: Listed[Piece]) -> int:
    """How many tokens both begin with and neither learns; 0 where it is too few to tell."""
    heads = [[text for piece in _untrained(p) for text in piece.texts] for p in (first, second)]
    same = 0
    for one, other in zip(*heads, strict=False):
        if one != other:
            break
        same += 1
    return same if same >= FEWEST_SHARED else 0


def _untrained(pieces: Listed[Piece]) -> list[Piece]:
    head = []
    for piece in pieces:
        if piece.trained or piece.cut:
            break
        head.append(piece)
    return head


def _sequence(sequence: Sequence, width: int, skip: int, boundaries: bool) -> list[Content]:
    tokens = [token for piece in sequence.pieces for token in _tokens(piece)]
    kept = [token for token in tokens if not token.cut]
    lost = [token for token in tokens if token.cut]
    lay = _numbered if boundaries else _flowing
    head = _upto(kept[skip:], HEAD_CHARS)
    tail = kept[skip + head :]
    rows = lay(kept[skip : skip + head], skip, width)
    if tail:
        last = _upto(tail[::-1], TAIL_CHARS)
        if hidden := len(tail) - last:
            rows.append(dim(f"  ⋯ {hidden:,} more tokens"))
        rows += lay(tail[len(tail) - last :], len(kept) - last, width)
    if sequence.cut_tokens:
        rows.append(_cut_rule(sequence.cut_tokens, width))
        seen = _upto(lost, LOST_CHARS)
        rows += lay(lost[:seen], len(kept), width)
        if hidden := sequence.cut_tokens - seen:
            rows.append(dim(f"  ⋯ {hidden:,} more lost tokens"))
    return rows


def _cut_rule(tokens: int, width: int) -> Content:
    one = tokens == 1
    words = f" cut here: {tokens:,} token{'' if one else 's'} {'is' if one else 'are'} lost "
    return ink(f"✂──{words}".ljust(width, "─")[:width], TIGHT)


def _tokens(piece: Piece) -> list[_Token]:
    if piece.cut:
        return [_Token(text, _LOST, False, True) for text in piece.texts]
    style = (_TRAINED if piece.trained else _MASKED)[piece.special]
    return [_Token(text, style, piece.trained) for text in piece.texts]


def _upto(tokens: Listed[_Token], chars: int) -> int:
    """How many of the tokens have so many characters."""
    for at, token in enumerate(tokens):
        chars -= len(token.text)
        if chars < 0:
            return at
    return len(tokens)


def _flowing(tokens: list[_Token], first: int, width: int) -> list[Content]:
    """The text as it reads, wrapped at words; line ends are shown, since they are tokens too."""
    rows: list[Content] = []
    line: list[tuple[str, str]] = []

    def end_line() -> None:
        wrapped = join(*line).wrap(max(10, width - 2))
        rows.extend(join(_margin(part), part) for part in wrapped)
        line.clear()

    for token in tokens:
        for part, ended in _lines(token):
            line.append((part, token.style))
            if ended:
                end_line()
    if any(text for text, _ in line):
        end_line()
    return rows


def _margin(row: Content) -> Content:
    styles = [str(span.style) for span in row.spans]
    if any("strike" in style for style in styles):
        return join((LOST_MARGIN, TIGHT), " ")
    return join((MARGIN if any("underline" in style for style in styles) else " ", ACCENT), " ")


def _numbered(tokens: list[_Token], first: int, width: int) -> list[Content]:
    """Token by token, each row with the number of its first (from 1); a row ends between two."""
    rows: list[Content] = []
    room = max(10, width - GUTTER - 2)
    line: list[tuple[str, str]] = []
    used, begins, learned = 0, first, False

    def end_line(next_token: int) -> None:
        nonlocal used, begins, learned
        if line:
            number = right(ink(f"{begins + 1:,}", FAINT), GUTTER - 1)
            margin = (MARGIN if learned else " ", ACCENT)
            if any(style == _LOST for _, style in line):
                margin = (LOST_MARGIN, TIGHT)
            rows.append(join(number, " ", margin, " ", *line))
        line.clear()
        used, begins, learned = 0, next_token, False

    for at, token in enumerate(tokens, start=first):
        for part, ended in _lines(token):
            size = len(part) if part.isascii() else Content(part).cell_length
            if used and used + size + 1 > room:
                end_line(at)
            while size > room:
                line.append((part[:room], token.style))
                learned = learned or token.trained
                part, used = part[room:], room
                size = Content(part).cell_length
                end_line(at)
            learned = learned or token.trained
            line += [(part, token.style), (BETWEEN, FAINT)]
            used += size + 1
            if ended:
                end_line(at + 1)
    end_line(0)
    return rows


def _lines(token: _Token) -> list[tuple[str, bool]]:
    """The parts of a token between line ends, and whether a line ends behind each."""
    parts = clean(token.text).split("\n")
    found = [(f"{part}⏎", True) for part in parts[:-1]]
    return [*found, (parts[-1], False)] if parts[-1] or not found else found
