"""A run's memory on its card in rows, or in one row where there is little room."""

from __future__ import annotations

import math

from textual.content import Content

from tui_lora.core.events import MemoryCreeps
from tui_lora.core.run_memory import Holder, RunMemory
from tui_lora.core.text import number, one_line, shorten_middle
from tui_lora.core.view import RunView
from tui_lora.ui.ink import BRIGHT, DIM, GOOD, TIGHT, WRONG, dim, ink, join, left, right

_LABEL, _FIGURE = 11, 9
_NEAR = 0.05
_NAMED = 2


def memory_rows(view: RunView, memory: RunMemory) -> list[Content]:
    """Six rows with labels and figures in the columns of those above them; a seventh where memory
    creeps."""
    rows = [
        join(left(dim("memory"), _LABEL), right(dim("now"), _FIGURE), right(dim("peak"), _FIGURE)),
        _row("allocated", memory.allocated, _peak_allocated(view), "by tensors"),
        _row("reserved", memory.reserved, view.peak_reserved_gib, "by torch"),
        _row("process", memory.process, memory.peak, "with CUDA's own"),
        join(
            left(dim("predicted"), _LABEL),
            right("", _FIGURE),
            right(ink(number(memory.predicted)), _FIGURE),
            "  ",
            _against(view, memory),
        ),
        join(
            left(dim("others"), _LABEL),
            right(number(memory.others), _FIGURE),
            "  ",
            dim(_named(memory.holders)),
        ),
        join(
            left(dim("headroom"), _LABEL),
            right(ink(number(memory.headroom), _headroom_style(memory)), _FIGURE),
            dim(f"  of {number(memory.total)} GiB" if memory.total is not None else ""),
        ),
    ]
    if view.creeps is not None:
        rows.append(ink(_creeping(view.creeps), TIGHT))
    return rows


def memory_pieces(view: RunView, memory: RunMemory) -> list[Content]:
    """The same in pieces for one row, what matters most first; the unit stands with the first."""
    pieces = [
        join(_pair("headroom", memory.headroom, _headroom_style(memory)), dim(" GiB")),
        _pair("peak", memory.peak),
        join(_pair("predicted", memory.predicted), " ", _sign(memory)),
        _pair("others", memory.others),
        _pair("reserved", memory.reserved),
        _pair("allocated", memory.allocated),
    ]
    if view.creeps is not None:
        pieces.insert(1, ink(_creeping(view.creeps, short=True), TIGHT))
    return pieces


def _row(label: str, now: float | None, peak: float | None, note: str) -> Content:
    return join(
        left(dim(label), _LABEL), right(number(now), _FIGURE), right(number(peak), _FIGURE),
        dim(f"  {note}"),
    )  # fmt: skip


def _peak_allocated(view: RunView) -> float | None:
    """The highest that torch has counted in this attempt."""
    if view.measured is not None:
        return view.measured.peak_allocated_gib
    return view.last_step.peak_allocated_gib if view.last_step is not None else None


def _pair(label: str, gib: float | None, style: str = BRIGHT) -> Content:
    return join(dim(f"{label} "), ink(number(gib), style))


def _against(view: RunView, memory: RunMemory) -> Content:
    """What the forecast is worth by now, or why there is none."""
    event = view.forecast
    if event is None:
        return dim("being simulated" if view.verdict is None else "")
    if event.forecast is None:
        return dim(shorten_middle(one_line(event.unknown), 30))
    if memory.error is None:
        return dim(f"{event.tokens:,}-token rows" if event.tokens else "simulated")
    if abs(memory.error) <= _NEAR:
        return ink(f"✓ within {max(1, math.ceil(100 * abs(memory.error)))}%", GOOD)
    if memory.error < 0:
        return ink(f"▲ it took {_more(memory):.0%} more", TIGHT)
    return dim(f"it took {-_more(memory):.0%} less")


def _sign(memory: RunMemory) -> Content:
    if memory.error is None:
        return Content("")
    if abs(memory.error) <= _NEAR:
        return ink("✓", GOOD)
    return ink("▲", TIGHT) if memory.error < 0 else dim("▼")


def _more(memory: RunMemory) -> float:
    """By what share the run took more than was predicted."""
    assert memory.peak is not None
    assert memory.predicted is not None
    return memory.peak / memory.predicted - 1


def _named(holders: tuple[Holder, ...]) -> str:
    """The two largest by name, and how many more there are: `Xorg 0.3, python 0.2 +1`."""
    told = [
        f"{shorten_middle(one_line(holder.name), 9) or 'another process'} {_rounded(holder.gib)}"
        for holder in holders[:_NAMED]
    ]
    more = f" +{len(holders) - _NAMED}" if len(holders) > _NAMED else ""
    return f"{', '.join(told)}{more}"


def _rounded(gib: float) -> str:
    """In one decimal; what is there is never 0."""
    return "<0.1" if gib < 0.05 else f"{gib:.1f}"


def _headroom_style(memory: RunMemory) -> str:
    if memory.headroom is None:
        return DIM
    if memory.headroom < 0:
        return WRONG
    return TIGHT if memory.total is not None and memory.headroom < _NEAR * memory.total else BRIGHT


def _creeping(event: MemoryCreeps, *, short: bool = False) -> str:
    grown = number(event.per_100_steps_gib, 2)
    if short:
        return f"▲ +{grown}/100 steps, full at {event.full_at:,}"
    return f"▲ grows {grown} GiB in 100 steps, full near step {event.full_at:,}"
