"""`adapter`: what an adapter changes, layer by layer, in lines of text, as JSON or as a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tui_lora.core.adapter_figures import MEASURES, AdapterFigures, Cell, rank_words
from tui_lora.core.adapter_layers import Place
from tui_lora.core.text import UNKNOWN, number, one_line
from tui_lora.headless.follow import to_stdout
from tui_lora.store.adapter_spectrum import figures_of, place_of
from tui_lora.store.base_norms import with_base


def adapter(root: Path, what: str, *, base: bool, as_json: bool) -> int:
    """Print the figures of an adapter; `base`: read the base's weights too."""
    place = place_of(root, what)
    found = figures_of(place)
    if base:
        found = with_base(place, found, lambda done, of: None, lambda: True)
    if as_json:
        to_stdout(json.dumps(_json(found), indent=1))
        return 0
    for line in _lines(found):
        to_stdout(line)
    return 0


def _lines(found: AdapterFigures) -> Iterator[str]:
    ranks = ", ".join(f"{r:,}" for r in found.r)
    yield (
        f"{one_line(found.title)}: ‖ΔW‖ {number(found.norm)} over {len(found.cells):,} layers, "
        f"r {ranks}; median entropy rank {number(found.entropy_rank)}, stable rank "
        f"{number(found.stable_rank)}"
    )
    if found.relative is not None:
        yield f"median ‖ΔW‖ / ‖W‖ {number(100 * found.relative)}%"
    yield rank_words(found)
    for notice in found.notices:
        yield f"! {one_line(notice)}"
    if found.left_out:
        yield f"not in these figures: {one_line('; '.join(found.left_out))}"
    yield ""
    heads = ("layers", "‖ΔW‖ least", "most", "at layer", "entropy rank")
    yield f"{'module':<16} " + " ".join(
        f"{head:>{width}}" for head, width in zip(heads, (6, 12, 10, 9, 13), strict=True)
    )
    for row in found.rows:
        cells = [cell for place, cell in found.cells.items() if place.row == row]
        least = min(cells, key=lambda cell: cell.norm)
        most = max(cells, key=lambda cell: cell.norm)
        ranks_of = sorted(rank for cell in cells if (rank := cell.entropy_rank) is not None)
        middle = ranks_of[len(ranks_of) // 2] if ranks_of else None
        at = UNKNOWN if most.place.layer is None else str(most.place.layer)
        yield (
            f"{row[:16]:<16} {len(cells):>6,} {number(least.norm):>12} {number(most.norm):>10} "
            f"{at:>9} {number(middle):>13}"
        )


def _json(found: AdapterFigures) -> dict[str, Any]:
    return {
        "adapter": found.title,
        "norm": found.norm,
        "r": list(found.r),
        "entropy_rank": found.entropy_rank,
        "stable_rank": found.stable_rank,
        "share_of_r_in_use": found.share,
        "relative_to_base": found.relative,
        "words": rank_words(found),
        "notices": list(found.notices),
        "left_out": list(found.left_out),
        "layers": [
            _cell(place, found.cells[place])
            for row in found.rows
            for layer in found.layers
            if (place := Place(row, layer)) in found.cells
        ],
    }


def _cell(place: Place, cell: Cell) -> dict[str, Any]:
    figures = {measure.name: measure.value(cell) for measure in MEASURES}
    return {
        "module": place.row,
        "layer": place.layer,
        "experts": len(cell.changes),
        "r": cell.r,
        "scaling": cell.changes[0].scaling,
        **{
            name: value if value is None or math.isfinite(value) else None
            for name, value in figures.items()
        },
        "singular_values": list(cell.spectrum),
    }
