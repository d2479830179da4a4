"""The headroom in words, figures and a bar: pure functions from `MemorySeen` to `Content`."""

from __future__ import annotations

import textwrap

from textual.content import Content

from tui_lora.core.memory import PARTS, TIGHT_SHARE, Forecast, Verdict, headroom_gib, verdict
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import UNKNOWN, shorten_middle
from tui_lora.ui.ink import (
    ACCENT,
    DIM,
    FAINT,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    between,
    dim,
    fitting,
    ink,
    join,
    left,
    right,
)
from tui_lora.ui.memory_bar import LOOKS, filled_bar
from tui_lora.ui.state import CardSeen, MemorySeen

PANEL_ROWS = 30
"""As many as the tallest terminal is given; the last ones are what one can do without."""

_NAME, _FIGURE = 11, 6
_SHORT = (
    ("weights", "weights", ("weights",)),
    ("adapter", "adapter", ("adapter", "gradients", "optimizer")),
    ("activations", "activations", ("activations",)),
    ("workspace", "the rest", ("workspace", "loss", "context")),
)
"""Whose look, what it is called, and which parts it sums up."""
_VERDICTS: dict[Verdict, tuple[str, str, str]] = {
    "fits": ("✓", "fits", GOOD),
    "tight": ("▲", "tight", TIGHT),
    "does_not_fit": ("✗", "does not fit", WRONG),
    "unknown": (UNKNOWN, "", DIM),
}
_SCHEMES = {"int8": "int8", "nf4": "NF4", "fp4": "FP4"}


def headroom_of(seen: MemorySeen) -> float | None:
    card = seen.card
    if seen.forecast is None or card is None or card.total_gib is None or card.others_gib is None:
        return None
    return headroom_gib(seen.forecast, card.total_gib, card.others_gib)


def verdict_of(seen: MemorySeen) -> Verdict:
    return verdict(headroom_of(seen), seen.card.total_gib if seen.card is not None else None)


def verdict_word(found: Verdict, words: str = "") -> Content:
    """Sign and word, so that the colour never says it alone."""
    sign, word, style = _VERDICTS[found]
    return ink(f"{sign} {words or word}".rstrip(), style)


def verdict_sign(found: Verdict) -> Content:
    """The sign alone, for where several stand in one row."""
    sign, _, style = _VERDICTS[found]
    return ink(sign, style)


def card_words(card: CardSeen, width: int = 40) -> str:
    """`RTX 4080, 16.0 GiB`; the name gives way."""
    size = f"{card.total_gib:.1f} GiB" if card.total_gib is not None else "memory unknown"
    if card.name.replace(" ", "") == f"{card.total_gib:g}GiB" if card.total_gib else False:
        return size
    return f"{shorten_middle(card.name, max(4, width - len(size) - 2))}, {size}"


def memory_bar(seen: MemorySeen, width: int) -> Content:
    """The card from left to right; what is too much is cut at its end."""
    card, found = seen.card, seen.forecast
    if found is None or card is None or not card.total_gib:
        return ink("─" * width, FAINT)
    sizes = [(LOOKS[name], size) for name, size in _sizes(found, card.others_gib or 0.0)]
    return filled_bar(sizes, card.total_gib, width)


def panel_rows(seen: MemorySeen, width: int, *, of_draft: bool = True) -> list[Content]:
    """The panel from the top: the answer first, then the sum that it is made of. Not `of_draft`: of
    a model that may become the draft's."""
    card = seen.card
    title = ink("will it fit", f"bold {ACCENT}")
    named = card_words(card, width - 14) if card is not None else "no card"
    rows = [between(title, dim(named), width), memory_bar(seen, width)]
    rows += [left(row, width) for row in _answer_rows(seen, width, of_draft)]
    rows += [_part_row(name, seen, width) for name in PARTS]
    rows += [ink("─" * (3 + _NAME + _FIGURE), FAINT), *_sum_rows(seen, width)]
    for note in _notes(seen):
        lines = textwrap.wrap(f"{note[:1].upper()}{note[1:]}", width)
        rows += [Content(""), *(dim(line) for line in lines)]
    return rows[:PANEL_ROWS]


def foot_rows(seen: MemorySeen, width: int) -> list[Content]:
    """The same in two rows: the bar with the answer, and the parts in short."""
    found, left_gib, card = seen.forecast, headroom_of(seen), seen.card
    answer = _short_answer(seen)
    room = min(44, width - answer.cell_length - 2)
    first = join(memory_bar(seen, room), "  ", answer) if room >= 10 else answer
    figures = [
        join(
            (LOOKS[part][0], LOOKS[part][1]),
            dim(f" {words} "),
            ink(UNKNOWN if found is None else _short(sum(_size(found, n) for n in names))),
        )
        for part, words, names in _SHORT
    ]
    if card is not None and (card.others_gib or 0.0) >= 0.05 and left_gib is not None:
        mark, style = LOOKS["others"]
        figures.append(join((mark, style), dim(" others "), ink(f"{card.others_gib:.1f}")))
    if found is None and seen.why and not seen.busy:
        figures = [dim(seen.why)]
    elif found is not None and left_gib is None:
        figures.append(join(("C", STRONG), dim(" names a card")))
    wide = sum(piece.cell_length + 2 for piece in figures) - 2 <= width
    second = fitting(figures, width, "  " if wide else " ")
    return [left(first, width), left(second if second.plain else figures[0], width)]


def answer_row(seen: MemorySeen, label: str, label_width: int, width: int) -> Content:
    """The same in one row behind a label."""
    start = left(dim(label), label_width)
    if seen.forecast is None and seen.why and not seen.busy:
        return left(join(start, dim(f"{UNKNOWN} {seen.why}")), width)
    return left(join(start, _short_answer(seen)), width)


def _sizes(found: Forecast, others_gib: float) -> list[tuple[str, float]]:
    return [*((name, _size(found, name)) for name in PARTS), ("others", others_gib)]


def _size(found: Forecast, part: str) -> float:
    return float(getattr(found.parts, part))


def _answer_rows(seen: MemorySeen, width: int, of_draft: bool) -> list[Content]:
    """Two rows: whether it fits and the key that leads on, or why nothing is known."""
    if seen.forecast is None and not seen.busy:
        lines = textwrap.wrap(f"{UNKNOWN} {seen.why}", width, max_lines=2, placeholder=" …")
        return [dim(line) for line in [*lines, ""][:2]]
    return [_answer(seen), _next_step(seen) if of_draft else _with_settings(seen)]


def _answer(seen: MemorySeen) -> Content:
    left_gib, says = headroom_of(seen), verdict_of(seen)
    if left_gib is None:
        return _unknown(seen)
    if says == "does_not_fit":
        return verdict_word(says, f"does not fit: {-left_gib:.2f} GiB too much")
    if says == "tight":
        return verdict_word(says, f"tight: less than {TIGHT_SHARE:.0%} is left")
    return verdict_word(says, "it fits")


def _short_answer(seen: MemorySeen) -> Content:
    found, card, left_gib = seen.forecast, seen.card, headroom_of(seen)
    if found is None or card is None or card.total_gib is None or left_gib is None:
        return _unknown(seen)
    says = verdict_of(seen)
    if left_gib < 0:
        words = join(dim("  too much by "), ink(f"{-left_gib:.1f}"))
    else:
        words = join(dim("  headroom "), ink(f"{left_gib:.1f}"))
    end = f" of {card.total_gib:.1f} GiB, {_method(seen)}"
    if seen.measured_gib is not None:
        end = f" of {card.total_gib:.1f}, measured {seen.measured_gib:.1f} GiB"
    return join(verdict_word(says), words, dim(end))


def _unknown(seen: MemorySeen) -> Content:
    """What is said in the verdict's place."""
    if seen.forecast is not None:
        taken = seen.forecast.peak_process_gib
        return join(dim("it takes "), ink(f"{taken:.1f} GiB"), dim(f", {_method(seen)}"))
    return dim(f"{UNKNOWN} {seen.why or 'simulating a step …' if seen.busy else 'not known'}")


def _method(seen: MemorySeen) -> str:
    if seen.forecast is not None and seen.forecast.method == "simulated":
        return "interpolated …" if seen.busy else "simulated"
    return "by formula …" if seen.busy else "by formula"


def _next_step(seen: MemorySeen) -> Content:
    if seen.forecast is None:
        return Content("")
    if headroom_of(seen) is None:
        return join(("C", STRONG), dim(" says whether it fits a card"))
    words = " shows what else fits" if verdict_of(seen) == "fits" else " shows what makes it fit"
    return join(("a", STRONG), dim(words))


def _with_settings(seen: MemorySeen) -> Content:
    """What it is reckoned with, where the settings are not in sight."""
    if seen.forecast is None or seen.spec is None:
        return Content("")
    training = seen.spec.training
    rows = f"{training.micro_batch:,} × {training.max_length:,} tokens"
    return join(dim(f"with {rows}, as in "), ("4", STRONG), dim(" Settings"))


def _part_row(name: str, seen: MemorySeen, width: int) -> Content:
    found, spec = seen.forecast, seen.spec
    note = _about(name, spec, found, seen.stored) if spec is not None and found is not None else ""
    if name == "context" and note and seen.card is not None and seen.card.context_source:
        # All of it is about this card, and there is little room.
        note = seen.card.context_source.replace("on this card", "here")
    return _row(name, None if found is None else _size(found, name), dim(note), width)


def _row(name: str, size_gib: float | None, note: Content, width: int) -> Content:
    mark = LOOKS.get(name, (" ", DIM))
    figure = ink(UNKNOWN, DIM) if size_gib is None else ink(f"{size_gib:.2f}")
    start = join(mark, " ", left(dim(name), _NAME), right(figure, _FIGURE), "  ")
    return left(join(start, note), width)


def _about(part: str, spec: RunSpec, found: Forecast, stored: str) -> str:
    """A word on a part, from the settings that make it what it is."""
    training = spec.training
    match part:
        case "weights":
            scheme = spec.quantization.scheme
            if stored and stored != scheme:
                return f"{_SCHEMES.get(stored, stored)} in its files"
            if scheme == "none":
                return "not quantized"
            double = scheme in ("nf4", "fp4") and spec.quantization.double_quant
            return f"{_SCHEMES[scheme]}{', double quant' if double else ''}"
        case "adapter":
            return f"rank {spec.lora.r:,}"
        case "gradients":
            return "" if _shows(found.parts.gradients) else "none at the peak"
        case "optimizer" if _shows(found.parts.adapter):
            return f"{found.parts.optimizer / found.parts.adapter:.2g} × adapter"
        case "activations":
            batch = f"{training.micro_batch:,} × {training.max_length:,}"
            if training.gradient_checkpointing is False:
                return f"{batch}, all kept"
            how = "selective" if training.gradient_checkpointing == "selective" else "checkpointed"
            told = f"{how}, {batch}"
            return told if len(told) <= 23 else batch
        case "workspace":
            return "of one layer at work"
        case "loss":
            return "of the output" if _shows(found.parts.loss) else "none at the peak"
        case "context":
            return "CUDA's own"
    return ""


def _short(size_gib: float) -> str:
    """In one decimal; what is there is never 0."""
    return "<0.1" if 0 < size_gib < 0.05 else f"{size_gib:.1f}"


def _shows(size_gib: float) -> bool:
    """Whether two decimals show anything of it."""
    return size_gib >= 0.005


def _sum_rows(seen: MemorySeen, width: int) -> list[Content]:
    found, card, left_gib = seen.forecast, seen.card, headroom_of(seen)
    peak = None if found is None else found.peak_process_gib
    held = card.others_gib if card is not None and not card.asked else None
    here = "" if held is None else "on the card now"
    left_over = "too much" if left_gib is not None and left_gib < 0 else "headroom"
    size = None if left_gib is None else abs(left_gib)
    of = f"of {card.total_gib:.1f} GiB" if card is not None and card.total_gib else ""
    method = "" if found is None else _method(seen)
    if method and found is not None and found.phase:
        method = f"{method}, {found.phase}" if method == "simulated" else method
    measured = []
    if seen.measured_gib is not None:
        measured = [_row("measured", seen.measured_gib, dim("by the fit check"), width)]
    return [
        _row("peak", peak, dim(method), width),
        *measured,
        _row("others", held, dim(here), width),
        _row(left_over, size, dim(of if size is not None else ""), width),
    ]


def _notes(seen: MemorySeen) -> list[str]:
    """What else is to be said where there is room for it."""
    notes = [seen.why] if len(seen.why) > 80 or (seen.why and seen.forecast is not None) else []
    if seen.card is None and seen.no_card:
        notes.append(seen.no_card)
    if seen.card is not None and seen.card.asked:
        notes.append("The card was asked about and need not be here; C asks about another.")
    if seen.forecast is not None:
        notes += seen.forecast.reasons
    return notes
