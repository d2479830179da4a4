"""Memory ran out, on the Train screen: what happened, where it went, beside what was predicted."""

from __future__ import annotations

from textual.content import Content

from tui_lora.core.events import MemoryForecasted, MemoryRanOut
from tui_lora.core.memory import Forecast
from tui_lora.core.out_of_memory import FREE, REST, Share, asked_for, gib, happened, shares
from tui_lora.core.text import UNKNOWN, one_line
from tui_lora.ui.ink import BRIGHT, DIM, FAINT, WRONG, dim, ink, join
from tui_lora.ui.memory_bar import LOOKS, Look, filled_bar

MOST_FIGURE_ROWS = 4
_PREDICTED = {
    "weights": ("weights",),
    "adapter": ("adapter",),
    "gradients": ("gradients",),
    "optimizer": ("optimizer",),
    "activations": ("activations",),
    "activations and workspace": ("activations", "workspace", "loss"),
    REST: ("context",),
}
"""Which parts of a forecast stand beside what was held under a name."""

_MORE_LOOKS: dict[str, Look] = {
    "activations and workspace": LOOKS["activations"],
    "unused": ("░", DIM),
    REST: LOOKS["context"],
    FREE: ("─", FAINT),
}


def ran_out_rows(event: MemoryRanOut, told: MemoryForecasted | None, width: int) -> list[Content]:
    """Six or seven rows: two sentences, the bar, its parts in figures, and the prediction."""
    rows = [ink(happened(event), WRONG)]
    if asked := asked_for(event):
        rows.append(ink(asked))
    held = shares(event)
    found = told.forecast if told is not None else None
    if held and event.total_gib:
        parts = [(_look(share), share.gib) for share in held if share.name != FREE]
        rows.append(filled_bar(parts, event.total_gib, width))
    rows += _flowing([_figure(share, found) for share in held], width)[:MOST_FIGURE_ROWS]
    rows.append(_prediction(event, told, beside=found is not None and bool(held)))
    return rows


def _look(share: Share) -> Look:
    known = _MORE_LOOKS.get(share.name) or LOOKS.get(share.name)
    if known is not None:
        return known
    return LOOKS["workspace"] if share.ours else LOOKS["others"]


def _figure(share: Share, found: Forecast | None) -> Content:
    """`█ weights 3.60 (3.55)`, what was predicted in brackets."""
    piece = join(_look(share), dim(f" {share.name} "), ink(gib(share.gib)))
    parts = _PREDICTED.get(share.name, ())
    if found is None or not parts:
        return piece
    predicted = sum(float(getattr(found.parts, part)) for part in parts)
    return join(piece, dim(f" ({gib(predicted)})"))


def _flowing(pieces: list[Content], width: int) -> list[Content]:
    """The pieces in as many rows as they take; none is broken."""
    rows: list[Content] = []
    for piece in pieces:
        if rows and rows[-1].cell_length + 2 + piece.cell_length <= width:
            rows[-1] = join(rows[-1], "  ", piece)
        else:
            rows.append(piece)
    return rows


def _prediction(event: MemoryRanOut, told: MemoryForecasted | None, *, beside: bool) -> Content:
    if told is None or told.forecast is None:
        why = "of the processor's memory there is no forecast"
        if told is not None and told.unknown:
            why = one_line(told.unknown)
        elif event.device != "cpu":
            why = "the run made no forecast"
        return join(dim("predicted "), ink(UNKNOWN, DIM), dim(f"  {why}"))
    found = told.forecast
    return join(
        dim("predicted "),
        ink(gib(found.peak_process_gib), BRIGHT),
        dim(f" GiB at the peak, {found.method}{'; its parts stand in brackets' if beside else ''}"),
    )
