"""Models of the Hub, and one on its way here, in words and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, count, duration, one_line, shorten_middle, size
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
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
from tui_lora.ui.model_text import pairs
from tui_lora.ui.widgets.table import Column, Row

if TYPE_CHECKING:
    from tui_lora.store.hub_models import HubModel
    from tui_lora.ui.model_fetch import FetchState
    from tui_lora.ui.model_hub import Told

HUB_COLUMNS = (
    Column("", 1),
    Column("model on the Hub", 0, middle=True),
    Column("architecture", 20, from_width=112),
    Column("params", 7, numeric=True),
    Column("size", 8, numeric=True),
    Column("downloads", 9, numeric=True, from_width=72),
    Column("licence", 14, from_width=96),
    Column("", 6),
)
HERE = {"wholly": ("here", GOOD), "partly": ("partly", TIGHT), "": ("", DIM)}


def hub_row(model: HubModel, *, chosen: bool, coming: bool) -> Row:
    style = DIM if model.problem else BRIGHT
    mark = ("✗", WRONG) if model.problem else ("↓", ACCENT) if coming else (" ", DIM)
    state = HERE[model.here] if model.here or not model.gated else ("gated", TIGHT)
    return Row(
        model.id,
        (
            join(("●", ACCENT) if chosen else mark),
            ink(one_line(model.id), STRONG if chosen else style),
            ink(model.architecture or model.model_type or UNKNOWN, style),
            ink(count(model.parameters), style),
            ink(size(model.size_bytes), style),
            ink(count(model.downloads), style),
            ink(model.licence or UNKNOWN, style),
            ink(*state),
        ),
    )


def hub_detail(
    model: HubModel, told: Told | None, width: int, *, coming: bool, fit: list[Content]
) -> list[Content]:
    """Everything known of the model under the cursor; `told` is what the Hub said when asked, `fit`
    how it fits the card."""
    rows = [between(ink(one_line(model.id), STRONG), _state(model, told, coming=coming), width)]
    if model.problem:
        rows.append(ink(f"It {one_line(model.problem)}", WRONG))
    elif told is not None and told.problem:
        rows.append(ink(f"✗ {one_line(told.problem)} {one_line(told.then)}", WRONG))
    elif model.gated and model.here != "wholly":
        by = "by hand" if model.gated == "manual" else "at once"
        words = f"! gated: its owners want their terms accepted on its page, and let you in {by}."
        rows.append(ink(words, TIGHT))
    if model.note:
        rows.append(ink(f"! {one_line(model.note)}", TIGHT))
    rows += fit
    plan = told.plan if told is not None else None
    facts = [
        ("architecture", model.architecture or model.model_type or UNKNOWN),
        ("parameters", count(model.parameters)),
        ("precision", model.quantized or model.dtype or UNKNOWN),
        ("licence", model.licence or UNKNOWN),
        ("downloads", f"{count(model.downloads)} in a month"),
        ("likes", count(model.likes)),
        ("to fetch", _to_fetch(told)),
        ("free disk", size(told.free_bytes) if told is not None else UNKNOWN),
    ]
    rows += pairs(facts, width)
    if plan is not None:
        rows.append(dim(f"{len(plan.files)} files: {_kinds(plan.files)}; nothing else of it."))
    return rows


def _state(model: HubModel, told: Told | None, *, coming: bool) -> Content:
    if coming:
        return ink("↓ on its way", ACCENT)
    if model.problem:
        return ink("✗ cannot be trained", WRONG)
    if model.here == "wholly":
        return join(ink("✓ here", GOOD), dim("   Enter chooses it"))
    if told is None:
        return dim("Enter asks what fetching it takes")
    return dim("" if told.problem else "Enter or f fetches it")


def _to_fetch(told: Told | None) -> str:
    plan = told.plan if told is not None else None
    if plan is None:
        return UNKNOWN
    if not plan.here_bytes:
        return size(plan.total_bytes)
    return f"{size(plan.missing_bytes)} of {size(plan.total_bytes)}"


def _kinds(files: tuple[object, ...]) -> str:
    names = [str(getattr(file, "name", "")) for file in files]
    shards = sum(name.endswith(".safetensors") for name in names)
    return f"{shards} of weights (safetensors), config, tokenizer and licence"


# A model on its way.


def fetch_rows(state: FetchState, width: int) -> list[Content]:
    """One row while it comes; two or three when it did not."""
    name = one_line(state.id)
    if state.phase == "failed":
        rows = [ink(f"✗ {one_line(state.problem)}", WRONG)]
        return [*rows, dim(one_line(state.then))] if state.then else rows
    if state.phase == "stopped":
        came = size(state.done_bytes) if state.done_bytes else "nothing"
        words = f"   stopped; {came} of it is kept, and f goes on from there"
        return [join(dim("· "), ink(name), dim(words))]
    if not state.alive:
        return []
    wide = width >= 100
    room = 34 if wide else 18
    head = join(("↓ ", ACCENT), left(ink(shorten_middle(name, room)), room))
    if state.phase == "starting":
        return [join(head, dim("  asking the Hub …"))]
    if state.phase == "paused":
        when = f"tries again after {duration(state.retry_s)}"
        why = ink(f"! {one_line(state.why)}; {when}", TIGHT)
        return [Content("  ").join([head, _amount(state), why])]
    share = (state.done_bytes or 0) / state.total_bytes if state.total_bytes else None
    rate = f"{size(state.bytes_per_s)}/s" if state.bytes_per_s else UNKNOWN
    remains = ink(duration(state.left_s))
    pieces = [
        head,
        bar(share, 24 if wide else 6),
        _amount(state),
        right(ink(rate), 9),
        right(join(remains, dim(" left")) if wide else remains, 16 if wide else 11),
    ]
    return [Content("  ").join(pieces)]


def _amount(state: FetchState) -> Content:
    done = right(ink(size(state.done_bytes)), 7)
    return join(done, dim(" of "), right(ink(size(state.total_bytes)), 7))
