"""Runs over each other in rows of text: the table, the settings that differ, what can be saved."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui_lora.core.figures import Curve, Curves, TableData
from tui_lora.core.overlaid import LETTERS, Differing, Figure, Run
from tui_lora.core.run_curve import Shown, points_of
from tui_lora.core.run_figures import loss_title
from tui_lora.core.text import duration, number, one_line
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, STRONG, dim, fitting, ink, join
from tui_lora.ui.widgets.overlay_plot import COLOURS, Laid
from tui_lora.ui.widgets.table import Column, Row

AXIS_TITLES = {"step": "step", "tokens": "tokens", "time": "time at work"}


def letter(at: int) -> Content:
    """The letter of the run that was added as number `at`, in its colour."""
    return ink(LETTERS[at], f"bold ${COLOURS[at]}")


def columns(figures: Sequence[Figure], by: Figure | None) -> tuple[Column, ...]:
    """`by` is what the runs are sorted by; it is marked."""
    return (
        Column("", 2),
        Column("run", 0, middle=True),
        Column("status", 9, from_width=96),
        Column("step", 11, numeric=True, from_width=110),
        *(
            Column(
                f"▾{one.title}" if one is by else one.title,
                max(one.width, len(one.title) + 1),
                numeric=True,
                from_width=0 if one is by else one.from_width,
            )
            for one in figures
        ),
    )


def row_of(run: Run, at: int, figures: Sequence[Figure], *, hidden: bool) -> Row:
    """`hidden`: its curve is not drawn."""
    total = f"/{run.total_steps:,}" if run.total_steps else ""
    step = f"{run.steps:,}" if run.steps is not None else "—"
    style = DIM if hidden else BRIGHT
    return Row(
        run.name,
        (
            ink("·", DIM) if hidden else letter(at),
            ink(one_line(run.name), style),
            ink(run.status.replace("_", " "), ACCENT if run.alive else DIM),
            join(ink(step, style), dim(total)),
            *(_cell(one, run, style) for one in figures),
        ),
    )


def _cell(figure: Figure, run: Run, style: str) -> Content:
    value = figure.of(run)
    text = duration(value) if figure.name == "time" else number(value)
    return ink(text, DIM if value is None else style)


def legend_row(
    runs: Sequence[tuple[int, Run]], shown: Shown, axis: str, weight: float, log: bool, width: int
) -> Content:
    """What is drawn, by what, and what was done to it."""
    pieces = [
        join(ink(shown.title, STRONG), dim(", log scale" if log and shown.may_log else "")),
        dim(f"by {AXIS_TITLES[axis]}"),
        *([dim(smoothing_words(weight))] if not shown.few else []),
        *(join(letter(at), dim(f" {one_line(run.name, max_chars=24)}")) for at, run in runs),
    ]
    return fitting(pieces, width)


def smoothing_words(weight: float) -> str:
    return f"EMA {weight:g}, bias-corrected" if weight else "not smoothed"


def laid(run: Run, at: int, shown: Shown, axis: str, weight: float) -> Laid:
    x, y = points_of(run.curve, shown, axis, weight)
    return Laid(LETTERS[at], at, tuple(x), tuple(y), shown.few)


def curves_of(
    runs: Sequence[tuple[int, Run]], shown: Shown, axis: str, weight: float, log: bool
) -> Curves:
    """The plot as it is saved: every point, and not only those that a terminal has room for."""
    found = []
    for at, run in runs:
        x, y = points_of(run.curve, shown, axis, weight)
        if x:
            found.append(Curve(f"{LETTERS[at]} {run.name}", tuple(x), tuple(y), shown.few))
    unit = ", s" if axis == "time" else ""
    note = "" if shown.few else smoothing_words(weight)
    names = ", ".join(run.name for _, run in runs)
    return Curves(
        f"{shown.title}: {names}",
        AXIS_TITLES[axis] + unit,
        _with_unit(shown, [run.task for _, run in runs]),
        tuple(found),
        log and shown.may_log,
        note,
    )


def _with_unit(shown: Shown, tasks: Sequence[str]) -> str:
    return loss_title(shown.title, tasks) if shown.title.endswith("loss") else shown.title


def differing_columns(runs: Sequence[tuple[int, Run]]) -> tuple[Column, ...]:
    named = (Column(LETTERS[at] + " " + one_line(run.name, max_chars=30), 0) for at, run in runs)
    return (Column("differs in", 18), *named)


def differing_row(one: Differing) -> Row:
    style = DIM if one.idle else BRIGHT
    texts = (ink(one_line(text), style) for text in one.texts)
    return Row(one.setting.path, (ink(one.setting.label, style), *texts))


def differing_table(runs: Sequence[Run], found: Sequence[Differing]) -> TableData:
    return TableData(
        "Settings in which the runs differ",
        ("setting", *(run.name for run in runs)),
        tuple((one.setting.path, *one.texts) for one in found),
        "Behind an arrow stands what auto became.",
    )
