"""Tokens as one sees them: blanks visible, special ones by name, with what else was likely."""

from __future__ import annotations

from textual.content import Content

from tui_lora.core.chat import TokenShown
from tui_lora.core.text import UNKNOWN, clean, number, one_line
from tui_lora.core.token_figures import UNLIKELY, TokenFigures, rank, unlikely
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, STRONG, TIGHT, bar, dim, ink, join, left, right

SPACE, BREAK, TAB = "·", "⏎", "⇥"
NOTHING = "∅"
"""How a token without any text of its own looks."""
LONGEST = 40
_BAR = 24


def visible(text: str) -> str:
    """The text of a token with its blanks as marks; never empty."""
    text = clean(text.replace("\t", TAB)).replace("\n", BREAK).replace(" ", SPACE)
    return text or NOTHING


def cell(token: TokenShown, *, ids: bool = False) -> str:
    """A token in the grid: its text, or its number; special ones in brackets."""
    text = str(token.id) if ids else visible(token.text)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return f"⟦{text}⟧" if token.special else text


def look(token: TokenShown) -> str:
    """Its style: the prompt dim, the answer bright, what was unlikely underlined."""
    if unlikely(token):
        return f"underline {TIGHT}"
    if token.special:
        return ACCENT
    return BRIGHT if token.part == "answer" else DIM


def share(probability: float | None) -> str:
    """A probability in percent: `3.2%`, `<0.1%`."""
    if probability is None:
        return UNKNOWN
    if 0 < probability < 0.001:
        return "<0.1%"
    return f"{100 * probability:.1f}%"


def summary(figures: TokenFigures, prompt: int, left_out: int, *, again: bool) -> Content:
    """What all of them are, in one row."""
    before = f" and {left_out:,} not shown" if left_out else ""
    row = join(dim(f"prompt {prompt:,}{before}   answer "), ink(f"{figures.tokens:,}"))
    if figures.mean is not None:
        row = join(row, dim("   mean "), ink(share(figures.mean)))
        row = join(row, dim("   perplexity "), ink(number(figures.perplexity)))
        under = f"   {figures.unlikely} under {UNLIKELY:.0%}"
        row = join(row, ink(under, TIGHT if figures.unlikely else DIM))
    return join(row, ink("   made anew", TIGHT)) if again else row


def about(token: TokenShown, at: int, many: int) -> Content:
    """The token that is pointed at: where it stands, its number, how likely it was."""
    kind = "special · " if token.special else ""
    row = join(
        (visible(token.text), STRONG),
        dim(f"   {kind}{token.part} · {at + 1:,} of {many:,} · id {token.id}"),
    )
    if token.probability is None:
        why = "no probability: it was given, and not written"
        return join(row, dim(f"   {why}")) if token.part == "prompt" else row
    place = rank(token)
    which = "likeliest" if place == 1 else f"number {place}" if place else "not among these"
    return join(row, dim("   "), ink(share(token.probability), look(token)), dim(f", {which}"))


def other_rows(token: TokenShown) -> list[Content]:
    """The likeliest tokens in its place, each with a bar; the one that stands there is marked."""
    rows = []
    for other in token.others:
        here = other.id == token.id
        mark = ink("▸ " if here else "  ", ACCENT)
        text = left(ink(one_line(visible(other.text)), STRONG if here else BRIGHT), 22)
        length = bar(other.probability, _BAR, ACCENT if here else DIM)
        rows.append(join(mark, text, " ", length, right(share(other.probability), 8),
                         dim(f"   id {other.id}")))  # fmt: skip
    return rows
