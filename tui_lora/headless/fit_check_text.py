"""The answer of `tui-lora fit --check`, as JSON and in 80 columns."""

from __future__ import annotations

import textwrap
from typing import Any

from tui_lora.core.fit_check import Batch, FitFound
from tui_lora.core.fit_check_words import (
    batch_words,
    holders_words,
    place_words,
    ran_out_words,
    speed_words,
)
from tui_lora.core.memory import Forecast
from tui_lora.core.text import UNKNOWN, one_line, shorten_middle
from tui_lora.headless import fit_text
from tui_lora.headless.fit_text import VERDICTS, WIDTH, Answer, because, settings_line


def as_json(answer: Answer, found: FitFound, of_batch: Forecast | None) -> dict[str, Any]:
    """The predicted figures as `fit` gives them, and the measured ones beside them; GiB and
    seconds, unknown is null. `of_batch` is the forecast of the very batch that was measured."""
    begun, checked, ran_out = found.begun, found.checked, found.ran_out
    return {
        **fit_text.as_json(answer),
        "predicted_for_batch": of_batch
        and {
            "peak_allocated_gib": round(of_batch.peak_allocated_gib, 4),
            "peak_reserved_gib": round(of_batch.peak_reserved_gib, 4),
            "peak_process_gib": round(of_batch.peak_process_gib, 4),
        },
        "measured": {
            "device": begun and begun.device,
            "name": begun and begun.name,
            "total_gib": begun and begun.total_gib,
            "others_gib": begun and begun.others_gib,
            "peak_allocated_gib": found.peak_allocated_gib,
            "peak_reserved_gib": found.peak_reserved_gib,
            "peak_process_gib": found.peak_process_gib,
            "context_gib": checked and checked.context_gib,
            "context_source": checked and checked.context_source,
            "headroom_gib": found.headroom_gib,
            "verdict": found.verdict,
            "batch": _batch(begun.batch if begun else None),
            "held_out_batch": _batch(begun.held_out if begun else None),
            "micro_batches": begun and begun.micro_batches,
            "of_micro_batches": begun and begun.of_micro_batches,
            "phases": [phase.model_dump() for phase in found.phases],
            "step_s": checked and checked.step_s,
            "tokens_per_s": checked and checked.tokens_per_s,
            "ran_out": ran_out and {"check_phase": ran_out.phase, **ran_out.where.model_dump()},
        },
    }


def _batch(batch: Batch | None) -> dict[str, int] | None:
    return None if batch is None else batch.model_dump()


def report_lines(answer: Answer, found: FitFound, of_batch: Forecast | None) -> list[str]:
    """The answer for people."""
    begun = found.begun
    lines = [shorten_middle(one_line(answer.spec.model.id), WIDTH), settings_line(answer.spec)]
    if begun is not None:
        lines += [
            "",
            *textwrap.wrap(f"measured on {place_words(begun)}: {batch_words(begun)}", WIDTH),
        ]
    if found.checked is not None:
        lines += ["", _cells("GiB", "predicted", "measured", "difference")]
        for row in found.compared(of_batch)[0 if found.on_card else -1 :]:
            share = UNKNOWN if row.difference is None else f"{row.difference:+.1%}"
            lines.append(_cells(row.name, _gib(row.predicted), _gib(row.measured), share))
    lines += ["", _cells("GiB at the peak", "allocated", "reserved", "process", "seconds")]
    for phase in found.phases:
        figures = (phase.allocated_gib, phase.reserved_gib, phase.process_gib)
        lines.append(_cells(phase.phase, *map(_gib, figures), f"{phase.seconds:.1f}"))
    lines.append("")
    if found.ran_out is not None:
        for words in (ran_out_words(found.ran_out), holders_words(found.ran_out)):
            lines += textwrap.wrap(words, WIDTH)
    if found.checked is not None:
        lines += textwrap.wrap(speed_words(found), WIDTH)
        lines += ["", f"{VERDICTS[found.verdict]}{_room(found.headroom_gib)}"]
    notes = [*found.warnings, *(answer.reasons if of_batch is None else ())]
    return [*lines, *because(tuple(notes))]


def _room(headroom_gib: float | None) -> str:
    if headroom_gib is None:
        return ""
    return f": {abs(headroom_gib):.2f} GiB {'are left' if headroom_gib >= 0 else 'too much'}"


def _cells(name: str, *figures: str) -> str:
    return f"{name:<16}" + "".join(f"{figure:>12}" for figure in figures)


def _gib(figure: float | None) -> str:
    return UNKNOWN if figure is None else f"{figure:.2f}"
