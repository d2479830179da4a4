"""Models in words and figures: pure functions from catalog entries to rows of `Content`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.core.text import UNKNOWN, count, number, one_line, size
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, STRONG, TIGHT, WRONG, between, dim, ink, join, left
from tui_lora.ui.widgets.table import Column, Row

if TYPE_CHECKING:
    from tui_lora.store.catalog import ModelEntry

COLUMNS = (
    Column("", 1),
    Column("model", 0, middle=True),
    Column("kind", 6, from_width=84),
    Column("architecture", 20, from_width=104),
    Column("params", 7, numeric=True),
    Column("on disk", 8, numeric=True),
    Column("dtype", 9, from_width=72),
    Column("context", 7, numeric=True),
    Column("chat", 4),
    Column("cannot be trained", 40, from_width=170),
)
KINDS = {"folder": "folder", "hub": "Hub", "gguf": "GGUF"}
SHORT = {"bitsandbytes": "bnb"}
GIB = 1 << 30
PAIR = 38
LABEL = 15


def usable(entry: ModelEntry) -> bool:
    """Whether a run could use it; what a Hub model lacks is fetched when the run starts."""
    return not entry.problem or (entry.kind == "hub" and entry.incomplete)


def short_name(entry: ModelEntry) -> str:
    """What people call it: a Hub id whole, a path by its last part."""
    return one_line(PurePath(entry.id).name if entry.id.startswith("/") else entry.id)


def table_row(entry: ModelEntry, *, chosen: bool) -> Row:
    style = BRIGHT if usable(entry) else DIM
    mark = ("●", ACCENT) if chosen else ("✗", WRONG) if not usable(entry) else (" ", DIM)
    name = "/".join(PurePath(entry.id).parts[-2:]) if entry.id.startswith("/") else entry.id
    return Row(
        entry.place,
        (
            join(mark),
            ink(one_line(name), STRONG if chosen else style),
            dim(KINDS[entry.kind]),
            ink(_architecture(entry), style),
            ink(count(entry.parameters), style),
            ink(size(entry.size_bytes), style),
            ink(_dtype(entry), style),
            ink(_tokens(entry.context_tokens), style),
            _template(entry),
            ink(one_line(entry.problem) if not usable(entry) else "", DIM),
        ),
    )


def detail_rows(entry: ModelEntry, note: str, width: int, *, chosen: bool) -> list[Content]:
    """Everything known about the entry under the cursor; `note` is what else is to be said."""
    state = dim(f"{KINDS[entry.kind]}   Enter chooses it")
    if chosen:
        state = ink("● chosen for the draft", ACCENT)
    elif not usable(entry):
        state = ink("✗ cannot be trained", WRONG)
    rows = [between(ink(short_name(entry), STRONG), state, width)]
    if not usable(entry):
        rows.append(ink(f"It {one_line(entry.problem)}", WRONG))
    elif note or entry.incomplete:
        rows.append(dim(note or "Not wholly on this machine: fetched when the run starts."))
    if entry.has_chat_template is False and usable(entry):
        words = "! no chat template: rows of turns need one; choose the instruct or chat version."
        rows.append(ink(words, TIGHT))
    facts = [
        ("architecture", _architecture(entry)),
        ("parameters", count(entry.parameters)),
        ("on disk", size(entry.size_bytes)),
        ("dtype", _long_dtype(entry)),
        ("context", _unit(_tokens(entry.context_tokens), "tokens")),
        ("vocabulary", _tokens(entry.vocabulary)),
        ("hidden size", _tokens(entry.hidden_size)),
        ("chat template", {True: "yes", False: "no", None: UNKNOWN}[entry.has_chat_template]),
    ]
    columns = max(1, min(3, width // PAIR))
    high = -(-len(facts) // columns)
    for at in range(high):
        pairs = [_pair(*fact) for fact in facts[at::high]]
        rows.append(join(*[left(pair, width // columns) for pair in pairs]))
    if usable(entry) and (weights := _weights_in_memory(entry)) is not None:
        rows.append(weights)
    where = entry.place if entry.place != entry.id or entry.id.startswith("/") else ""
    if where:
        rows.append(_pair("lies in", one_line(where)))
    return rows


def _weights_in_memory(entry: ModelEntry) -> Content | None:
    """What the frozen weights alone take on a card, from their number.

    The embedding stays in 16 bits when the linear layers are quantized; their scales with double
    quantization take 0.13 bits a weight more.
    """
    if not entry.parameters or not entry.vocabulary or not entry.hidden_size:
        return None
    if entry.quantization and entry.kind != "gguf":
        return None
    kept = min(entry.parameters, entry.vocabulary * entry.hidden_size)
    linear = entry.parameters - kept
    figures = (
        ("16 bits", entry.parameters * 2),
        ("int8", linear + kept * 2),
        ("nf4", linear * 4.13 / 8 + kept * 2),
    )
    pieces = [join(dim(f"{name} "), ink(number(x / GIB))) for name, x in figures]
    return join(
        left(dim("weights alone"), LABEL), Content("   ").join(pieces), dim(" GiB, reckoned")
    )


def _pair(label: str, value: str) -> Content:
    return join(left(dim(label), LABEL), ink(value, DIM if value == UNKNOWN else BRIGHT))


def _architecture(entry: ModelEntry) -> str:
    return entry.architecture or entry.model_type or UNKNOWN


def _dtype(entry: ModelEntry) -> str:
    kind = entry.quantization or entry.dtype or UNKNOWN
    return SHORT.get(kind, kind)


def _long_dtype(entry: ModelEntry) -> str:
    if entry.quantization and entry.kind == "gguf":
        return f"{entry.quantization}, converted once"
    if entry.quantization:
        return f"quantized, {entry.quantization}"
    return entry.dtype or UNKNOWN


def _tokens(value: int | None) -> str:
    if value is None:
        return UNKNOWN
    return count(value) if value >= 1_000_000 else f"{value:,}"


def _unit(value: str, unit: str) -> str:
    return value if value == UNKNOWN else f"{value} {unit}"


def _template(entry: ModelEntry) -> Content:
    if entry.has_chat_template is None:
        return dim(UNKNOWN)
    if entry.has_chat_template:
        return ink("yes", BRIGHT if usable(entry) else DIM)
    return ink("! no", TIGHT if usable(entry) else DIM)
