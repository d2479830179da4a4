"""Markdown of a model's answer as rows of text: drawn, never obeyed.

Links, images, HTML, entities and backslashes stay as they were written, so that nothing can be
clicked, nothing is hidden, and nothing comes out that was cleaned away before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, FAINT, GOOD, ink, join

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

AT_MOST = 20_000
"""Characters that are parsed at a time: the worst of that length takes a fifth of a second."""
HIGHLIGHTED = 8_000
"""Characters of a block of code that is coloured; the worst of that length takes 50 ms."""
CODE = "$foreground on $panel"
INDENT = "  "
FEW = {
    "Token.Comment": DIM,
    "Token.Keyword": ACCENT,
    "Token.Literal.String": GOOD,
    "Token.Operator.Word": ACCENT,
}
"""The colours of code: each one is sent again with every row that it stands in."""
OFF = (
    "link", "image", "autolink", "html_inline", "html_block", "reference", "entity", "escape",
    "lheading", "code",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Lines under each other. `first` stands before the first row and `rest` before the others;
    `apart`: an empty row above; `words`: long lines are broken between words. `of` is the line of
    the text at which it begins, or the list that it stands in."""

    content: Content
    first: str = ""
    rest: str = ""
    apart: bool = False
    words: bool = True
    of: int = 0

    def rows(self, width: int) -> list[Content]:
        """As it is drawn in `width` cells, each row at most that wide."""
        room = max(4, width - len(self.rest))
        if self.words:
            found = self.content.wrap(room)
        else:
            found = [
                row for line in self.content.split(allow_blank=True) for row in line.fold(room)
            ]
        rows = [join((self.first if at == 0 else self.rest, DIM), r) for at, r in enumerate(found)]
        return [Content(""), *rows] if self.apart else rows


def plain_block(text: str) -> Block:
    """A text as it was written."""
    return Block(ink(text, BRIGHT))


def blocks(text: str) -> list[Block]:
    """The blocks of a text, in order."""
    return list(_Walk().blocks(_parser().parse(text)))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False})
    return parser.enable(["table", "strikethrough"]).disable(list(OFF))


@dataclass
class _Level:
    """A list item or a quotation that a block stands in."""

    first: str
    rest: str
    used: bool = False


@dataclass
class _Walk:
    levels: list[_Level] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    end: int = 0
    top: int = 0

    def blocks(self, tokens: Sequence[Token]) -> Iterator[Block]:
        at = 0
        while at < len(tokens):
            token = tokens[at]
            kind = token.type
            if token.level == 0 and token.map:
                self.top = token.map[0]
            if kind == "table_open":
                close = next(n for n in range(at, len(tokens)) if tokens[n].type == "table_close")
                yield self._block(token, _table(tokens[at:close]), words=False)
                at = close
            elif kind in ("heading_open", "paragraph_open"):
                style = f"bold {ACCENT}" if kind == "heading_open" else BRIGHT
                yield self._block(token, _inline(tokens[at + 1], style))
            elif kind == "fence":
                code = token.content.removesuffix("\n")
                yield self._block(token, _code(code, token.info), words=False, before=INDENT)
            elif kind == "hr":
                yield self._block(token, ink("─" * 12, FAINT))
            else:
                self._move(token)
            at += 1

    def _move(self, token: Token) -> None:
        """Into a list or a quotation, or out of one."""
        kind = token.type
        if kind == "bullet_list_open":
            self.numbers.append(None)
        elif kind == "ordered_list_open":
            self.numbers.append(int(token.attrs.get("start", 1)))
        elif kind in ("bullet_list_close", "ordered_list_close"):
            self.numbers.pop()
        elif kind == "list_item_open":
            number = self.numbers[-1]
            marker = "• " if number is None else f"{number}. "
            self.levels.append(_Level(marker, " " * len(marker)))
            if number is not None:
                self.numbers[-1] = number + 1
        elif kind == "blockquote_open":
            self.levels.append(_Level("▏ ", "▏ "))
        elif kind in ("list_item_close", "blockquote_close"):
            self.levels.pop()

    def _block(
        self, token: Token, content: Content, *, words: bool = True, before: str = ""
    ) -> Block:
        start, end = token.map or (self.end, self.end)
        apart, self.end = start > self.end > 0, end
        first = "".join(level.rest if level.used else level.first for level in self.levels)
        rest = "".join(level.rest for level in self.levels)
        for level in self.levels:
            level.used = True
        return Block(content, first + before, rest + before, apart, words, self.top)


def _inline(token: Token, style: str) -> Content:
    flags: list[str] = []
    pieces: list[tuple[str, str]] = []
    for child in token.children or ():
        name, _, edge = child.type.rpartition("_")
        look = {"strong": "bold", "em": "italic", "s": "strike"}.get(name)
        if look is not None and edge == "open":
            flags.append(look)
        elif look is not None and edge == "close":
            flags.remove(look)
        elif child.type == "code_inline":
            pieces.append((child.content, CODE))
        elif child.type in ("softbreak", "hardbreak"):
            pieces.append(("\n", style))
        else:
            pieces.append((child.content, " ".join((*flags, style))))
    return join(*pieces)


def _code(code: str, language: str) -> Content:
    """Code in few colours; a language that is not known has one."""
    name = language.split(maxsplit=1)[0] if language.strip() else ""
    if not name or len(code) > HIGHLIGHTED:
        return ink(code, BRIGHT)
    from textual.highlight import HighlightTheme, highlight

    class Few(HighlightTheme):
        STYLES = {kind: FEW[str(kind)] for kind in HighlightTheme.STYLES if str(kind) in FEW}

    return highlight(code, language=name, theme=Few)


def _table(tokens: Sequence[Token]) -> Content:
    """Cells under each other, the head strong."""
    rows: list[list[Content]] = []
    head = 0
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token, BRIGHT))
        elif token.type == "thead_close":
            head = len(rows)
    columns = max((len(row) for row in rows), default=0)
    widths = [max(r[c].cell_length if c < len(r) else 0 for r in rows) for c in range(columns)]
    lines = []
    for at, row in enumerate(rows):
        padded = [
            cell.pad_right(w - cell.cell_length) for cell, w in zip(row, widths, strict=False)
        ]
        line = Content("  ").join(padded)
        lines.append(line.stylize("bold") if at < head else line)
    if head:
        lines.insert(head, ink("  ".join("─" * width for width in widths), FAINT))
    return Content("\n").join(lines)
