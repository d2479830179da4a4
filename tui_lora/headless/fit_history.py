"""`tui-lora fit --history`: what runs on this machine's cards took, beside what was predicted."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence

from tui_lora.core.measured_runs import MeasuredRun, difference, plain_name
from tui_lora.core.text import UNKNOWN, one_line, shorten_middle
from tui_lora.headless.follow import to_stdout
from tui_lora.store.memory_table import measured_runs

_SESSION, _CARD, _RUN = 14, 12, 19


def history(*, json_wanted: bool) -> int:
    """Print the table, the newest first; always 0."""
    runs = sorted(measured_runs(), key=lambda run: -run.t)
    if json_wanted:
        to_stdout(json.dumps([_as_json(run) for run in runs]))
        return 0
    for line in history_lines(runs):
        to_stdout(line)
    return 0


def history_lines(runs: Sequence[MeasuredRun]) -> list[str]:
    """The table in 80 columns: the reserved peak in GiB, and by how much the prediction was off."""
    if not runs:
        return ["No run on a card of this machine was measured yet; each one that trains there is."]
    names = f"{'session':{_SESSION}} {'card':{_CARD}} {'run':{_RUN}}"
    lines = [f"when   {names} predicted measured off by"]
    lines += [_line(run) for run in runs]
    errors = [abs(off) for run in runs if (off := _off(run)) is not None]
    if errors:
        many = "1 run" if len(errors) == 1 else f"{len(errors):,} runs"
        middle, worst = statistics.median(errors), max(errors)
        lines += ["", f"{many}: off by {middle:.1%} in the median, by {worst:.1%} at worst"]
    lines.append("GiB reserved by torch at the peak; + where more was predicted than was taken.")
    return lines


def _line(run: MeasuredRun) -> str:
    off = _off(run)
    figures = (
        f"{_gib(run.predicted.reserved_gib if run.predicted else None):>9} "
        f"{_gib(run.measured.reserved_gib):>8} "
        f"{UNKNOWN if off is None else f'{off:+.1%}':>6}"
    )
    return (
        f"{_when(run.t):6} {_cell(run.session, _SESSION)} "
        f"{_cell(plain_name(run.card), _CARD)} {_cell(_settings(run), _RUN)} {figures}"
    )


def _when(t: float) -> str:
    try:
        return time.strftime("%d %b", time.localtime(t))
    except (OverflowError, ValueError, OSError):  # the line is damaged
        return UNKNOWN


def _settings(run: MeasuredRun) -> str:
    """`nf4 r16 2×1,024`: how the base is stored, the rank, rows of so many tokens."""
    stored = "16 bits" if run.scheme == "none" else run.scheme
    tokens = run.tokens or run.max_length
    shape = f"{run.micro_batch}×{tokens:,}" if run.micro_batch and tokens else ""
    rank = f"r{run.r}" if run.r else ""
    return " ".join(part for part in (stored, rank, shape) if part)


def _cell(text: str, width: int) -> str:
    return f"{shorten_middle(one_line(text), width):{width}}"


def _gib(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _off(run: MeasuredRun) -> float | None:
    predicted = run.predicted.reserved_gib if run.predicted is not None else None
    return difference(predicted, run.measured.reserved_gib)


def _as_json(run: MeasuredRun) -> dict[str, object]:
    """As it stands in the table, with the error as a share of what was measured."""
    return {**run.model_dump(mode="json"), "off_by": _off(run)}
