"""What an adapter does to its base: how much each layer is changed, and in how many directions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tui_lora.core.adapter_layers import Place, in_order, places
from tui_lora.core.text import number

HELD = 0.95
"""The share of ‖ΔW‖² that decides how many directions are needed."""
LOW_SHARE, HIGH_SHARE = 0.34, 0.85
_LEAST_R = 4


def norm(spectrum: Sequence[float]) -> float:
    """Frobenius norm of a matrix by its singular values."""
    return math.sqrt(sum(value * value for value in spectrum))


def stable_rank(spectrum: Sequence[float]) -> float | None:
    """‖M‖_F² / ‖M‖₂²: how many directions as strong as the strongest would make up the norm
    (Rudelson and Vershynin, Sampling from large matrices, J. ACM 54(4), 2007). None of zero."""
    top = max(spectrum, default=0.0)
    return sum((value / top) ** 2 for value in spectrum) if top > 0 else None


def entropy_rank(spectrum: Sequence[float]) -> float | None:
    """exp of the entropy of the singular values as shares of their sum, from 1 to as many as there
    are (Roy and Vetterli, The effective rank, EUSIPCO 2007). None of zero."""
    total = sum(spectrum)
    if total <= 0:
        return None
    shares = [value / total for value in spectrum if value > 0]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))


def directions(spectrum: Sequence[float], held: float = HELD) -> int | None:
    """The fewest directions that hold this share of ‖M‖_F²: the best matrix of that rank is off by
    the rest (Eckart and Young, Psychometrika 1, 1936). None of zero."""
    total = sum(value * value for value in spectrum)
    so_far = 0.0
    for count, value in enumerate(spectrum, 1):
        so_far += value * value
        if total > 0 and so_far >= held * total * (1 - 1e-12):
            return count
    return None


@dataclass(frozen=True)
class Change:
    """ΔW of one matrix (of one expert): `spectrum` are its singular values, the largest first, r
    at most. `base_norm` is the Frobenius norm of the weight that it is added to, None unknown."""

    path: str
    r: int
    scaling: float
    outputs: int
    inputs: int
    spectrum: tuple[float, ...]
    base_norm: float | None = None


@dataclass(frozen=True)
class Cell:
    """The changes at one place: one, or those of all experts of a layer."""

    place: Place
    changes: tuple[Change, ...]

    @property
    def norm(self) -> float:
        """‖ΔW‖_F, over all experts."""
        return math.sqrt(sum(norm(one.spectrum) ** 2 for one in self.changes))

    @property
    def per_weight(self) -> float:
        """Root mean square of the entries of ΔW, so that matrices of any size compare."""
        return self.norm / math.sqrt(sum(one.outputs * one.inputs for one in self.changes))

    @property
    def relative(self) -> float | None:
        """‖ΔW‖_F / ‖W‖_F."""
        known = [one.base_norm for one in self.changes if one.base_norm]
        if len(known) < len(self.changes):
            return None
        return self.norm / norm(known)

    @property
    def r(self) -> int:
        return max(one.r for one in self.changes)

    @property
    def spectrum(self) -> tuple[float, ...]:
        """Singular values, the largest first; root mean squares over the experts of a layer."""
        if len(self.changes) == 1:
            return self.changes[0].spectrum
        longest = max(len(one.spectrum) for one in self.changes)
        padded = [(*one.spectrum, *(longest - len(one.spectrum)) * (0.0,)) for one in self.changes]
        return tuple(norm(values) / math.sqrt(len(values)) for values in zip(*padded, strict=True))

    @property
    def stable_rank(self) -> float | None:
        return stable_rank(self.spectrum)

    @property
    def entropy_rank(self) -> float | None:
        return entropy_rank(self.spectrum)

    @property
    def directions(self) -> int | None:
        return directions(self.spectrum)

    @property
    def share(self) -> float | None:
        """The directions that hold 95% of ‖ΔW‖², as a share of r."""
        needed = self.directions
        return needed / self.r if needed is not None else None


@dataclass(frozen=True)
class Measure:
    """A figure of a cell, as the heat map shows it."""

    name: str
    title: str
    value: Callable[[Cell], float | None]
    percent: bool = False

    def text(self, value: float | None) -> str:
        if value is None or not self.percent:
            return number(value)
        return f"{number(100 * value)}%"


MEASURES = (
    Measure("norm", "‖ΔW‖, Frobenius norm", lambda cell: cell.norm),
    Measure("per_weight", "ΔW a weight, root mean square", lambda cell: cell.per_weight),
    Measure("relative", "‖ΔW‖ / ‖W‖ of the base", lambda cell: cell.relative, percent=True),
    Measure("entropy_rank", "effective rank (entropy)", lambda cell: cell.entropy_rank),
    Measure("stable_rank", "stable rank", lambda cell: cell.stable_rank),
    Measure("share", "share of r that holds 95% of ‖ΔW‖²", lambda cell: cell.share, percent=True),
)


@dataclass(frozen=True)
class AdapterFigures:
    """An adapter's layers. `title` says whose; `notices` what to know before the figures are read;
    `left_out` what of its file they do not cover; `began_with` what is in ΔW besides what was
    learned, in a word."""

    title: str
    cells: Mapping[Place, Cell]
    rows: tuple[str, ...]
    layers: tuple[int | None, ...]
    notices: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    began_with: str = ""

    @property
    def norm(self) -> float:
        """‖ΔW‖_F over all layers."""
        return norm([cell.norm for cell in self.cells.values()])

    @property
    def r(self) -> tuple[int, ...]:
        """The ranks that there are, the smallest first."""
        return tuple(sorted({cell.r for cell in self.cells.values()}))

    @property
    def share(self) -> float | None:
        """The median share of r that holds 95% of ‖ΔW‖², over the layers that were changed."""
        return _median(cell.share for cell in self.cells.values())

    @property
    def entropy_rank(self) -> float | None:
        """The median over the layers that were changed."""
        return _median(cell.entropy_rank for cell in self.cells.values())

    @property
    def stable_rank(self) -> float | None:
        return _median(cell.stable_rank for cell in self.cells.values())

    @property
    def relative(self) -> float | None:
        """The median ‖ΔW‖ / ‖W‖; None where the base was not read."""
        return _median(cell.relative for cell in self.cells.values())

    def strongest(self, measure: Measure) -> Cell | None:
        known = [cell for cell in self.cells.values() if measure.value(cell) is not None]
        return max(known, key=lambda cell: measure.value(cell) or 0.0, default=None)

    def with_base(self, norms: Mapping[str, float]) -> AdapterFigures:
        """The same with the norms of the base's weights, by path."""
        cells = {
            place: replace(
                cell,
                changes=tuple(replace(one, base_norm=norms.get(one.path)) for one in cell.changes),
            )
            for place, cell in self.cells.items()
        }
        return replace(self, cells=cells)


def figures(
    title: str,
    changes: Sequence[Change],
    notices: Sequence[str] = (),
    left_out: Sequence[str] = (),
    began_with: str = "",
) -> AdapterFigures:
    """The changes, each at its place."""
    where = places(one.path for one in changes)
    gathered: dict[Place, list[Change]] = {}
    for one in changes:
        gathered.setdefault(where[one.path], []).append(one)
    cells = {place: Cell(place, tuple(found)) for place, found in gathered.items()}
    numbered = sorted({place.layer for place in cells if place.layer is not None})
    outside: tuple[int | None, ...] = (None,) if any(p.layer is None for p in cells) else ()
    rows = in_order(place.row for place in gathered)
    return AdapterFigures(
        title, cells, rows, (*numbered, *outside), tuple(notices), tuple(left_out), began_with
    )


def rank_words(found: AdapterFigures) -> str:
    """Whether r is too large, about right or too small, as far as the spectrum tells.

    The bounds are a rule of thumb, no theorem: they say how the update is spread, not whether
    another rank would lower the held-out loss.
    """
    share = found.share
    if share is None:
        return "ΔW is zero everywhere: nothing was learned, or the run had not begun."
    if found.began_with:
        return (
            "Whether r is too large or too small cannot be told here: ΔW holds what "
            f"{found.began_with} began with, too."
        )
    of = f"r = {found.r[0]:,}" if len(found.r) == 1 else "their ranks"
    used = f"in the median layer, {100 * share:.0f}% of {of} hold 95% of ‖ΔW‖²"
    if max(found.r) < _LEAST_R:
        return f"{used}; of so small a rank the spectrum does not tell whether it is enough."
    if share < LOW_SHARE:
        return (
            f"r looks larger than this run needed: {used}. A smaller one would probably do; the "
            "held-out loss of such a run says for sure."
        )
    if share > HIGH_SHARE:
        return (
            f"r may be too small (saturated): {used}. A larger one may learn more; after few steps "
            "or of noisy rows it looks so, too."
        )
    return f"r looks about right: {used}, and the other directions are weak."


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
