"""A fit check in rows: pure functions from what was found so far to `Content`."""

from __future__ import annotations

import textwrap

from textual.content import Content

from tui_lora.core.errors import Problem
from tui_lora.core.fit_check import PHASES, FitChecked, FitFailed, FitFound, FitRanOut, FitWorking
from tui_lora.core.fit_check_words import (
    NOTHING_PREDICTED,
    batch_words,
    holders_words,
    place_words,
    ran_out_words,
    speed_words,
)
from tui_lora.core.memory import Forecast
from tui_lora.core.sensors import CardReading
from tui_lora.core.text import UNKNOWN, duration, one_line
from tui_lora.ui.headroom_text import verdict_word
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    GOOD,
    STRONG,
    TIGHT,
    WRONG,
    bar,
    between,
    dim,
    ink,
    join,
    left,
    right,
)

_NAME, _FIGURE = 16, 11
_OFF = 0.03
"""A prediction that is farther below what was measured is marked."""


def title(place: str, width: int) -> Content:
    return between(ink("fit check", f"bold {ACCENT}"), dim(place), width)


def wrapped(text: str, width: int, style: str = BRIGHT) -> list[Content]:
    return [ink(line, style) for line in textwrap.wrap(one_line(text), max(20, width))]


def in_room(rows: list[Content], room: int) -> list[Content]:
    """The rows that fit into so many; empty ones give way first, then the last, with an ellipsis
    that says so."""
    over = len(rows) - room
    for at in [at for at, row in enumerate(rows) if not row.plain][::-1]:
        if over > 0:
            rows = [*rows[:at], *rows[at + 1 :]]
            over -= 1
    if over <= 0 or room < 1:
        return rows
    return [*rows[: room - 1], join(rows[room - 1], dim(" …"))]


def problem_rows(problems: tuple[Problem, ...], width: int) -> list[Content]:
    """Why it cannot be checked; the first few, since Settings lists them all."""
    rows = [ink("✗ this draft cannot run yet", WRONG), Content("")]
    for problem in problems[:3]:
        rows += wrapped(str(problem), width)
    if problems[3:]:
        rows.append(dim(f"and {len(problems) - 3} more"))
    return rows


def asking_rows(
    card: CardReading | None, training: tuple[str, ...], problem: str, width: int
) -> list[Content]:
    """What must be known before it is begun."""
    if card is None:
        rows = [ink("! there is no card here", TIGHT), Content("")]
        words = (
            "Two steps and an evaluation on your longest rows would run on the processor. They "
            "show whether the run works, the memory of this machine that it takes, and how long a "
            "step is. How much of a card it takes is simulated, in Settings."
        )
        return rows + wrapped(words, width) + [dim(row.plain) for row in wrapped(problem, width)]
    held = f"{card.used_gib:.1f} GiB" if card.used_gib is not None else "some memory"
    rows = [ink(f"! others hold {held} of the card", TIGHT), Content("")]
    if training:
        names = ", ".join(one_line(name) for name in training[:3])
        words = f"{names} trains now. A check takes what is left, and may end that run by it."
    else:
        who = ", ".join(
            dict.fromkeys(one_line(found.name) for found in card.processes or () if found.name)
        )
        words = f"{who or 'Other processes'} may need more of it while the check runs."
    return rows + wrapped(words, width)


def running_rows(
    found: FitFound, working: FitWorking | None, seconds: float, width: int
) -> list[Content]:
    """What is done, and what is being done for `seconds` now."""
    rows = _batch_rows(found)
    for phase in found.phases:
        taken = phase.process_gib if phase.process_gib is not None else phase.reserved_gib
        figure = "" if taken is None else f"   {taken:.2f} GiB at its peak"
        done = join(("✓ ", GOOD), ink(f"{phase.phase:<14}"), dim(f"{duration(phase.seconds):>8}"))
        rows.append(join(done, dim(figure)))
    label = working.label if working is not None else "starting"
    row = join(("● ", ACCENT), ink(one_line(label)), dim(f"   {seconds:.0f} s"))
    if working is not None and working.done is not None and working.total:
        share = working.done / working.total
        room = min(30, width - row.cell_length - 8)
        if room >= 6:
            row = join(row, "   ", bar(share, room), dim(f" {100 * share:3.0f}%"))
    rows.append(row)
    ahead = [name for name in PHASES[len(found.phases) :] if name != "loaded"]
    if not found.phases:
        rows.append(dim(f"then: {', '.join(ahead)}"))
    return rows


def ended_rows(found: FitFound, forecast: Forecast | None, why: str, width: int) -> list[Content]:
    """The answer first, then the figures, then what else there is to say."""
    if isinstance(found.ended, FitFailed):
        return [ink("✗ it could not be checked", WRONG), *wrapped(found.ended.message, width)]
    rows = [_answer(found)]
    if isinstance(found.ended, FitRanOut):
        rows = wrapped(f"✗ {ran_out_words(found.ended)}", width, WRONG)
    rows += _batch_rows(found)[:1]
    if isinstance(found.ended, FitChecked):
        rows.append(_head("GiB", "predicted", "measured", "difference"))
        for row in found.compared(forecast)[0 if found.on_card else -1 :]:
            share = row.difference
            style = TIGHT if share is not None and share < -_OFF else BRIGHT
            told = UNKNOWN if share is None else f"{share:+.1%}"
            rows.append(
                join(
                    left(dim(row.name), _NAME),
                    right(ink(_gib(row.predicted)), _FIGURE),
                    right(ink(_gib(row.measured), STRONG), _FIGURE),
                    right(ink(told, style), _FIGURE),
                )
            )
    rows += [Content(""), _head("at its peak", "allocated", "reserved", "process", "seconds")]
    for phase in found.phases:
        figures = (phase.allocated_gib, phase.reserved_gib, phase.process_gib)
        cells = [right(ink(_gib(figure)), _FIGURE) for figure in figures]
        seconds = right(dim(f"{phase.seconds:.1f}"), _FIGURE)
        rows.append(join(left(dim(phase.phase), _NAME), *cells, seconds))
    return [*rows, *(dim(row.plain) for row in _notes(found, why, width))]


def _batch_rows(found: FitFound) -> list[Content]:
    return [dim(batch_words(found.begun)), Content("")] if found.begun is not None else []


def _answer(found: FitFound) -> Content:
    left_gib, says = found.headroom_gib, found.verdict
    if left_gib is None or found.begun is None:
        return dim(f"{UNKNOWN} how much there is in all is not told")
    of = "the card" if found.on_card else "this machine's memory"
    more = "are left" if left_gib >= 0 else "too much"
    others = found.begun.others_gib
    held = f"; others hold {others:.2f}" if others is not None else ""
    return join(verdict_word(says), dim(f": {abs(left_gib):.2f} GiB of {of} {more}{held}"))


def _notes(found: FitFound, why: str, width: int) -> list[Content]:
    notes: list[str] = []
    if isinstance(found.ended, FitRanOut):
        notes.append(holders_words(found.ended))
    elif found.checked is not None:
        notes.append(speed_words(found))
        if not found.on_card:
            notes.append(NOTHING_PREDICTED)
        else:
            if why:
                notes.append(f"nothing is predicted: {why}")
            context, source = found.checked.context_gib, found.checked.context_source
            told = UNKNOWN if context is None else f"{context:.2f} GiB"
            notes.append(f"CUDA's own share: {told} ({source})")
    return [row for note in (*notes, *found.warnings) if note for row in wrapped(note, width)]


def place_of(found: FitFound, card: CardReading | None) -> str:
    """Where it is measured."""
    if found.begun is not None:
        size = found.begun.total_gib
        return place_words(found.begun) + (f", {size:.1f} GiB" if size is not None else "")
    if card is None:
        return ""
    return one_line(card.name) + (f", {card.total_gib:.1f} GiB" if card.total_gib else "")


def _head(name: str, *titles: str) -> Content:
    return join(left(dim(name), _NAME), *(right(dim(word), _FIGURE) for word in titles))


def _gib(figure: float | None) -> str:
    return UNKNOWN if figure is None else f"{figure:.2f}"
