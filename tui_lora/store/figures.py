"""Plots and tables as files: SVG, PNG, CSV, Markdown. Blocks: matplotlib is imported at first use.

Nothing is written over unless that was asked for, and "saved" follows a look at the file.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.figures import (
    FORMATS,
    Curves,
    Figure,
    Format,
    Heat,
    TableData,
    as_csv,
    as_markdown,
    as_table,
    told,
)
from tui_lora.core.text import clean, shorten_middle
from tui_lora.store.atomic import sync_folder
from tui_lora.store.paths import expanded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)), (0, (3, 4)))
_MARKS = "osD^vXP*"
_MOST_DRAWN_ROWS = 60
_LONGEST_CELL = 40
_DRAWING = threading.Lock()
"""matplotlib's settings belong to the process."""


@dataclass(frozen=True)
class Saved:
    """A file that was looked at after it was written; `drawn` of `rows` stand in the picture of a
    table that is too long for one."""

    path: Path
    size_bytes: int
    drawn: int | None = None
    rows: int | None = None


def format_of(path: Path) -> Format:
    """By the name's ending; raises UserError."""
    ending = path.suffix.lower().lstrip(".")
    found = next((one for one in FORMATS if one == ending), None)
    if found is None:
        raise UserError(
            f"{clean(path.name)} does not say as what it is to be saved.",
            then=f"End the name in {', '.join(f'.{one}' for one in FORMATS)}.",
        )
    return found  # type: ignore[return-value]


def free_path(folder: Path, name: str, ending: str) -> Path:
    """A path in `folder` that nothing has yet."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)[:80]
    path, number = folder / f"{kept}.{ending}", 2
    while path.exists() or path.is_symlink():
        path, number = folder / f"{kept}-{number}.{ending}", number + 1
    return path


def save(figure: Figure, where: str | Path, *, over: bool = False) -> Saved:
    """Write a figure as its name's ending says. Raises UserError, also for a file that is there
    already unless it may be written `over`."""
    path = expanded(str(where)).absolute()
    format = format_of(path)
    if not over and (path.exists() or path.is_symlink()):
        raise UserError(
            f"there is already something at {clean(str(path))}.", then="Give another name."
        )
    empty = figure.curves == () if isinstance(figure, Curves) else as_table(figure).rows == ()
    if empty:
        raise UserError("there is nothing in it to be saved yet.")
    drawn = None
    if format in ("csv", "md"):
        text = as_csv(figure) if format == "csv" else as_markdown(figure)
        raw = text.encode("utf-8")
    else:
        raw = draw(figure, format)
        if isinstance(figure, TableData) and len(figure.rows) > _MOST_DRAWN_ROWS:
            drawn = _MOST_DRAWN_ROWS
    write(path, raw, over=over)
    _look(path, format, raw, figure)
    rows = len(figure.rows) if isinstance(figure, TableData) else None
    return Saved(path, path.stat().st_size, drawn, rows)


def write(path: Path, raw: bytes, *, over: bool = False) -> None:
    """The whole file or none, for its owner alone to read; raises UserError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(beside, new, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        try:
            if over:
                beside.replace(path)
            else:
                # Unlike a rename this refuses what came there meanwhile.
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise UserError(
            f"there is already something at {clean(str(path))}.", then="Give another name."
        ) from None
    except OSError as error:
        raise UserError(
            f"{clean(str(path))} cannot be written: {error.strerror}.",
            then="Choose another place.",
        ) from None


def _look(path: Path, format: Format, raw: bytes, figure: Figure) -> None:
    """Raise UserError where the file is not what was written, or not of its kind."""
    try:
        found = path.read_bytes()
    except OSError as error:
        raise UserError(f"{clean(str(path))} cannot be read back: {error.strerror}.") from None
    right = found == raw
    if right and format == "png":
        right = found.startswith(b"\x89PNG\r\n\x1a\n") and found.endswith(b"IEND\xaeB`\x82")
    elif right and format == "svg":
        right = b"<svg " in found[:1000] and found.rstrip().endswith(b"</svg>")
    elif right and format == "csv":
        lines = list(csv.reader(io.StringIO(found.decode("utf-8"))))
        right = len(lines) == len(as_table(figure).rows) + 1
    if not right:
        raise UserError(f"{clean(str(path))} is not what was written there.", exit_code=1)


def draw(figure: Figure, format: Format) -> bytes:
    """The figure as SVG (its text as text) or PNG."""
    with _DRAWING, warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; nothing may reach the terminal.
        warnings.simplefilter("ignore")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet

        settings: dict[str, Any] = {
            "text.parse_math": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "tui-lora",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
        with matplotlib.rc_context(settings):
            sheet = Sheet(figsize=_size(figure), layout="constrained")
            FigureCanvasAgg(sheet)
            axes = sheet.add_subplot()
            match figure:
                case Curves():
                    _draw_curves(axes, figure)
                case Heat():
                    _draw_heat(axes, figure)
                case TableData():
                    _draw_table(axes, figure)
            axes.set_title(figure.title, loc="left", fontsize=10)
            if figure.note:
                sheet.supxlabel(figure.note, fontsize=7, color="#666666", x=0.01, ha="left")
            out = io.BytesIO()
            when = {"Date": None} if format == "svg" else None
            sheet.savefig(out, format=format, dpi=150, metadata=when)
            return out.getvalue()


def _size(figure: Figure) -> tuple[float, float]:
    """Inches."""
    match figure:
        case Curves():
            return 8.0, 4.5
        case Heat():
            wide = 0.45 if figure.counts else 0.24
            return (
                min(40.0, 2.5 + wide * len(figure.columns)),
                min(40.0, 1.6 + 0.3 * len(figure.rows)),
            )
        case TableData():
            widths = sum(_widths(figure))
            return min(40.0, 0.6 + 0.085 * widths), 0.9 + 0.24 * (1 + _drawn_rows(figure))


def _drawn_rows(table: TableData) -> int:
    return min(len(table.rows), _MOST_DRAWN_ROWS)


def _draw_curves(axes: Axes, figure: Curves) -> None:
    for at, curve in enumerate(figure.curves):
        look: Any = _LOOKS[at % len(_LOOKS)]
        few = curve.marked or len(curve.x) == 1
        axes.plot(
            curve.x,
            curve.y,
            linestyle=look,
            linewidth=1.2,
            marker=_MARKS[at % len(_MARKS)] if few else "",
            markersize=4,
            label=curve.label,
        )
    if figure.log_y:
        axes.set_yscale("log")
    axes.set_xlabel(figure.x)
    axes.set_ylabel(figure.y)
    axes.grid(visible=True, color="#e0e0e0", linewidth=0.6)
    axes.legend(frameon=False)


def _draw_heat(axes: Axes, figure: Heat) -> None:
    import numpy as np

    values = np.array(
        [[np.nan if value is None else value for value in row] for row in figure.values]
    )
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=0)
    axes.set_yticks(range(len(figure.rows)), [shorten_middle(row, 30) for row in figure.rows])
    every = 1 if figure.counts else max(1, len(figure.columns) // 16)
    axes.set_xticks(range(0, len(figure.columns), every))
    axes.set_xticklabels(
        [shorten_middle(name, 20) for name in figure.columns[::every]],
        rotation=45 if figure.counts else 0,
        ha="right" if figure.counts else "center",
    )
    axes.set_xlabel(figure.x)
    axes.set_ylabel(figure.y)
    if figure.counts:
        top = float(np.nanmax(values)) if values.size else 0.0
        for y, row in enumerate(figure.values):
            for x, value in enumerate(row):
                light = value is not None and value < 0.6 * top
                axes.text(x, y, told(value), ha="center", va="center", color="w" if light else "k")
    figure_of = axes.get_figure()
    if figure_of is not None:
        figure_of.colorbar(image, ax=axes, label=figure.legend)


def _widths(table: TableData) -> list[int]:
    """Characters of each column."""
    cells = [table.columns, *(tuple(told(v) for v in row) for row in table.rows)]
    return [
        min(_LONGEST_CELL, max(len(str(row[at])) for row in cells)) + 2
        for at in range(len(table.columns))
    ]


def _draw_table(axes: Axes, figure: TableData) -> None:
    from matplotlib.transforms import Bbox

    axes.set_axis_off()
    widths = _widths(figure)
    texts = [
        [shorten_middle(told(value), _LONGEST_CELL) for value in row]
        for row in figure.rows[:_MOST_DRAWN_ROWS]
    ]
    numeric = [
        all(not isinstance(row[at], str) for row in figure.rows)
        for at in range(len(figure.columns))
    ]
    drawn = axes.table(
        cellText=texts,
        colLabels=[shorten_middle(name, _LONGEST_CELL) for name in figure.columns],
        colWidths=[width / sum(widths) for width in widths],
        bbox=Bbox.unit(),
        edges="horizontal",
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("#d0d0d0")
        cell.get_text().set_horizontalalignment("right" if numeric[column] else "left")
        if row == 0:
            cell.get_text().set_fontweight("bold")
