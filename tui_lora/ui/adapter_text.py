"""The adapter itself in words and figures: from what was found to rows, and to what is saved."""

from __future__ import annotations

from textual.content import Content

from tui_lora.core.adapter_figures import AdapterFigures, Cell, Measure, rank_words
from tui_lora.core.adapter_layers import Place
from tui_lora.core.figures import Curve, Curves, Heat
from tui_lora.core.text import UNKNOWN, number, one_line
from tui_lora.ui.ink import BRIGHT, STRONG, TIGHT, dim, fitting, ink, join
from tui_lora.ui.widgets.heat_map import Scale
from tui_lora.ui.widgets.trend import trend

MOST_VALUES = 24


def head_rows(found: AdapterFigures, width: int) -> list[Content]:
    """Whose it is and what it comes to, what the spectrum says of r, and what to know first."""
    ranks = ", ".join(f"{r:,}" for r in found.r[:4]) + (" …" if len(found.r) > 4 else "")
    relative = found.relative
    pieces = [
        ink(one_line(found.title), STRONG),
        join(dim("‖ΔW‖ "), ink(number(found.norm))),
        join(dim("r "), ink(ranks)),
        join(dim("entropy rank "), ink(number(found.entropy_rank))),
        join(dim("stable rank "), ink(number(found.stable_rank)), dim(" (median)")),
        *([join(dim("of ‖W‖ "), ink(f"{number(100 * relative)}%"))] if relative else []),
    ]
    rows = [fitting(pieces, width), ink(rank_words(found))]
    rows += [ink(f"! {one_line(notice)}", TIGHT) for notice in found.notices]
    if found.left_out:
        rows.append(dim(f"not in these figures: {one_line('; '.join(found.left_out))}"))
    return rows


def legend_row(measure: Measure, scale: Scale, width: int) -> Content:
    """What the shades mean."""
    title = ink(measure.title)
    if scale.high <= 0:
        return join(title, dim("   all zero, or not known"))
    pieces = [
        join((glyph, style), dim(f" {measure.text(until)}"))
        for (glyph, style), _, until in scale.bounds()
    ]
    row = join(title, dim(f"   from {measure.text(scale.low)} up to "))
    return join(row, fitting(pieces, max(1, width - row.cell_length), "  "))


def cell_rows(cell: Cell | None, place: Place, width: int) -> list[Content]:
    """The figures of the cell under the cursor."""
    where = f"layer {place.layer} " if place.layer is not None else ""
    name = ink(f"{where}{place.row}", STRONG)
    if cell is None:
        return [join(name, dim("   is not changed")), Content(""), Content("")]
    many = f"   {len(cell.changes):,} experts" if len(cell.changes) > 1 else ""
    first = cell.changes[0]
    relative = cell.relative
    sizes = f"{first.outputs:,} x {first.inputs:,}"
    figures = [
        join(name, dim(many)),
        join(dim("‖ΔW‖ "), ink(number(cell.norm))),
        join(dim("of ‖W‖ "), _percent(relative)),
        join(dim("a weight "), ink(number(cell.per_weight))),
        dim(sizes),
    ]
    ranks = [
        join(dim("r "), ink(f"{cell.r:,}")),
        join(dim("scaling "), ink(number(first.scaling))),
        join(dim("entropy rank "), ink(number(cell.entropy_rank))),
        join(dim("stable rank "), ink(number(cell.stable_rank))),
        join(dim("95% in "), ink(_count(cell.directions))),
    ]
    spectrum = cell.spectrum
    values = [ink(number(value)) for value in spectrum[:MOST_VALUES]]
    shape = ink(trend(spectrum, 32), "$chart-eval") if len(spectrum) > 1 else Content("")
    start = join(dim("σ "), shape, "  ")
    row = join(start, fitting(values, max(1, width - start.cell_length), " "))
    return [fitting(figures, width), fitting(ranks, width), row]


def growth_row(found: list[tuple[str, float | None]], at: int, width: int) -> Content:
    """‖ΔW‖ of each checkpoint on the way; None while it is not known."""
    if len(found) < 2:
        return Content("")
    pieces = [
        join(dim(f"{name} "), ink(number(value), STRONG if here == at else BRIGHT))
        for here, (name, value) in enumerate(found)
    ]
    start = dim("how it grew  ")
    while len(pieces) > 2 and len(Content("  ").join(pieces)) > width - start.cell_length:
        pieces.pop(1)
    return join(start, Content("  ").join(pieces))


def heat_of(found: AdapterFigures, measure: Measure) -> Heat:
    """The map as it can be saved."""
    return Heat(
        title=f"{found.title}: what the adapter changes",
        legend=measure.title + (" (share)" if measure.percent else ""),
        x="layer",
        y="module",
        columns=tuple(layer_name(layer) for layer in found.layers),
        rows=found.rows,
        values=grid(found, measure),
        note=". ".join(found.notices),
    )


def grid(found: AdapterFigures, measure: Measure) -> tuple[tuple[float | None, ...], ...]:
    def value(place: Place) -> float | None:
        cell = found.cells.get(place)
        return measure.value(cell) if cell is not None else None

    return tuple(tuple(value(Place(row, layer)) for layer in found.layers) for row in found.rows)


def layer_name(layer: int | None) -> str:
    return "out" if layer is None else str(layer)


def spectrum_of(found: AdapterFigures, row: str) -> Curves:
    """The singular values of every layer of one kind of module, as they can be saved."""
    curves = []
    for layer in found.layers:
        cell = found.cells.get(Place(row, layer))
        if cell is not None:
            x = tuple(float(at) for at in range(1, len(cell.spectrum) + 1))
            curves.append(Curve(f"layer {layer_name(layer)}", x, cell.spectrum))
    title = f"{found.title}: singular values of ΔW, {row}"
    return Curves(title, "direction", "singular value", tuple(curves), log_y=True)


def _percent(value: float | None) -> Content:
    return ink(UNKNOWN, "$dim") if value is None else ink(f"{number(100 * value)}%")


def _count(directions: int | None) -> str:
    if directions is None:
        return UNKNOWN
    return "1 direction" if directions == 1 else f"{directions:,} directions"
