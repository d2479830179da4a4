"""How a model fits the card: as the draft would train it, and in each way beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, number, shorten_middle
from tui_lora.ui.ink import DIM, dim, ink, join, left, right
from tui_lora.ui.state import CardSeen, Draft, MemorySeen

if TYPE_CHECKING:
    from tui_lora.core.memory import Forecast, Verdict
    from tui_lora.core.model_facts import ModelFacts

WAYS = {"nf4": "LoRA, nf4", "int8": "LoRA, int8", "none": "LoRA, 16 bits", "full": "all weights"}
SHORT = {"nf4": "nf4", "int8": "int8", "none": "16 bits", "full": "full"}

Figures = dict[str, "Forecast | None"]


def ways(facts: ModelFacts | None, draft: Draft, seen: MemorySeen) -> Figures:
    """Each way with the draft's other settings, by the formula; the draft's own as it is in `seen`,
    which is of the same model. `facts` are the model's sizes, None where they are not known."""
    from tui_lora.core.memory import CONTEXT_GIB
    from tui_lora.core.memory_formula import formula
    from tui_lora.core.memory_in_full import in_full
    from tui_lora.ui.forms.checked import check
    from tui_lora.ui.memory_asked import plain_card

    spec = check(draft).sound
    found: Figures = dict.fromkeys(WAYS)
    if spec is not None and facts is not None:
        known = seen.card.context_gib if seen.card is not None else None
        card, context = plain_card(seen.card), CONTEXT_GIB if known is None else known
        for way in WAYS:
            if way == "full":
                found[way] = in_full(facts, spec, card, context_gib=context)
                continue
            stored = spec.quantization.model_copy(update={"scheme": way})
            wanted = spec.model_copy(update={"quantization": stored})
            found[way] = formula(facts, wanted, card, context_gib=context)
    if seen.spec is not None and seen.forecast is not None:
        found[seen.forecast.stored or seen.spec.quantization.scheme] = seen.forecast
    return {way: found[way] for way in WAYS}


def fit_rows(
    found: Figures, card: CardSeen | None, label_width: int, width: int, *, roomy: bool
) -> list[Content]:
    """The ways one below the other, where there is room for it, else in one row."""
    if not roomy or all(figure is None for figure in found.values()):
        return [fits_row(found, card, label_width, width)]
    rows = [
        join(left(dim(_label(card, label_width)), label_width), right(dim("GiB"), 6)),
    ]
    for way, figure in found.items():
        taken = UNKNOWN if figure is None else number(figure.peak_process_gib)
        how = (
            "" if figure is None else "simulated" if figure.method == "simulated" else "by formula"
        )
        rows.append(
            join(
                left(dim(f" {WAYS[way]}"), label_width),
                right(ink(taken), 6),
                left(join("  ", _verdict(figure, card)), 17),
                dim(how),
            )
        )
    return [left(row, width) for row in rows]


def fits_row(found: Figures, card: CardSeen | None, label_width: int, width: int) -> Content:
    """`nf4 5.63 ✓ fits   int8 …`; words give way where the sign says it."""
    start = left(dim(_label(card, label_width)), label_width)
    if all(figure is None for figure in found.values()):
        return join(start, dim(UNKNOWN))
    methods = {figure.method for figure in found.values() if figure is not None}
    how = "by formula" if methods == {"formula"} else "one simulated, else by formula"
    row = Content("")
    for gap, words in (("   ", None), ("   ", _SHORT_WORDS), ("  ", _SIGNS)):
        row = join(start, Content(gap).join(_short(found, card, words)))
        for unit in (f"   GiB, {how}", "   GiB", " GiB"):
            if row.cell_length + len(unit) <= width:
                return left(join(row, dim(unit)), width)
    return left(row, width)


_SHORT_WORDS: dict[Verdict, str] = {"fits": "fits", "tight": "tight", "does_not_fit": "not"}
_SIGNS: dict[Verdict, str] = {"fits": "", "tight": "", "does_not_fit": ""}


def _short(
    found: Figures, card: CardSeen | None, words: dict[Verdict, str] | None
) -> list[Content]:
    pieces = []
    for way, figure in found.items():
        taken = UNKNOWN if figure is None else number(figure.peak_process_gib)
        says = _verdict(figure, card, words)
        pieces.append(join(dim(f"{SHORT[way]} "), ink(taken), " " if says.plain else "", says))
    return pieces


def _verdict(
    figure: Forecast | None, card: CardSeen | None, words: dict[Verdict, str] | None = None
) -> Content:
    from tui_lora.ui.headroom_text import verdict_of, verdict_sign, verdict_word

    says = verdict_of(MemorySeen(card, forecast=figure))
    if figure is None or says == "unknown":
        return ink("", DIM)
    if words is not None and not words[says]:
        return verdict_sign(says)
    return verdict_word(says, "" if words is None else words[says])


def _label(card: CardSeen | None, width: int) -> str:
    label = "memory" if card is None else f"on {card.name}" if card.asked else "on this card"
    return shorten_middle(label, width - 1)
