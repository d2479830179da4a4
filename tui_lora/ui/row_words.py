"""What is said of the row at hand: where it stands, what it counts, why it is not fed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, one_line
from tui_lora.store.paths import DEMO_MODEL, is_there, model_place
from tui_lora.ui.ink import BRIGHT, DIM, STRONG, TIGHT, WRONG, dim, ink, join, left, right
from tui_lora.ui.row_fed import pages

if TYPE_CHECKING:
    from tui_lora.core.inspect import InspectWorking, RowFed, Sequence
    from tui_lora.ui.row_written import Written


def row_head(number: int, total: str, place: str, fed: RowFed | None, page: int) -> list[Content]:
    """`row 17 of 7,473`, and the counts of what is seen in columns that stand still."""
    row = f"{number + 1:,}"
    where = join(dim("row "), ink(row, STRONG), dim(f" of {total}"))
    pieces = [left(where, 8 + 2 * max(len(total), 5))]
    seen: RowFed | Sequence | None = fed
    if fed is not None and pages(fed) > 1:
        seen = fed.sequences[page]
        name = seen.name or f"{page + 1} of {pages(fed)}"
        pieces.append(join(ink(one_line(name)), ("  [ ]", STRONG)))
    cut = seen.cut_tokens if seen is not None else 0
    pieces += [
        _count("tokens", seen.tokens if seen else None),
        _trained(fed, seen),
        _count("cut", seen.cut_tokens if seen else None, TIGHT if cut else BRIGHT),
    ]
    return [*pieces, dim(place)] if place else pieces


def _trained(fed: RowFed | None, seen: RowFed | Sequence | None) -> Content:
    """A row that teaches nothing stands out, unless what it teaches is its label."""
    if seen is None or seen.trained_tokens:
        return _count("trained", seen.trained_tokens if seen else None)
    if fed is not None and fed.label:
        return join(dim("trained "), right(ink("label"), 5))
    return _count("! trained", 0, WRONG)


def _count(label: str, value: int | None, style: str = BRIGHT) -> Content:
    shown = UNKNOWN if value is None else f"{value:,}"
    return join(dim(f"{label} "), right(ink(shown, DIM if value is None else style), 5))


def place_of(row: Written, path: str) -> str:
    """Where a row stands: its line, with the file where there are several."""
    name = one_line(row.file.rpartition("/")[2])
    if not name or name == Path(path).name:
        return f"line {row.line:,}" if row.line else ""
    return f"{name}:{row.line}" if row.line else name


def not_fed(model: str, problem: str) -> Content | None:
    """Why a row is not even asked for; None where it is."""
    if not model:
        words = "Which tokens this becomes depends on the model: choose one with "
        return join(dim(words), ("2", STRONG), dim("."))
    if problem:
        return dim("A row that cannot be read is not fed.")
    if model == DEMO_MODEL and not is_there(Path(model_place(DEMO_MODEL))):
        return dim("The demo model is fetched when the run starts; then this is known.")
    return None


def worker_ended(words: str) -> tuple[Content, Content]:
    why = one_line(words, max_chars=200)
    again = join(("r", STRONG), dim(" starts it again."))
    return ink(f"✗ the inspect worker ended: {why}", WRONG), again


def working(answer: InspectWorking) -> Content:
    """What the worker is busy with, and how far."""
    share = f"   {100 * answer.done / answer.total:3.0f}%" if answer.done and answer.total else ""
    return dim(f"{one_line(answer.label, max_chars=200)} …{share}")
