"""Models in words and figures: pure functions from catalog entries to rows of `Content`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.cells import chop_cells
from textual.content import Content

from tui_lora.core.text import UNKNOWN, count, number, one_line, shorten_middle, size
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    DIM,
    GAP,
    STRONG,
    TIGHT,
    WRONG,
    between,
    dim,
    ink,
    join,
    left,
)
from tui_lora.ui.model_code_text import code_rows, is_trusted
from tui_lora.ui.widgets.table import Column, Row

if TYPE_CHECKING:
    from tui_lora.store.model_entry import ModelEntry

COLUMNS = (
    Column("", 1),
    Column("model", 0, middle=True),
    Column("kind", 7, from_width=84),
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
PAIR = 35
LABEL = 15


def can_be_fetched(entry: ModelEntry) -> bool:
    """Whether the Hub can bring what is missing or broken here."""
    return entry.kind == "hub" and (entry.incomplete or entry.problem.startswith("is broken"))


def is_locked(entry: ModelEntry, trusts: str) -> bool:
    """Whether it could be trained, if only its code were trusted."""
    whole = entry.usable and not entry.incomplete
    return whole and entry.needs_code and not is_trusted(entry, trusts)


def short_name(model_id: str) -> str:
    """What people call it: a Hub id whole, a path by its last part."""
    return one_line(PurePath(model_id).name if model_id.startswith("/") else model_id)


def table_row(entry: ModelEntry, trusts: str, *, chosen: bool) -> Row:
    """`trusts`: the fingerprint of its code that the draft trusts."""
    style = BRIGHT if entry.usable else DIM
    mark = ("●", ACCENT) if chosen and not is_locked(entry, trusts) else _mark(entry)
    name = "/".join(PurePath(entry.id).parts[-2:]) if entry.id.startswith("/") else entry.id
    return Row(
        entry.place,
        (
            join(mark),
            ink(one_line(name), STRONG if chosen else style),
            dim("adapter" if entry.adapter else KINDS[entry.kind]),
            ink(_architecture(entry), style),
            ink(count(entry.parameters), style),
            ink(size(entry.size_bytes), style),
            ink(_dtype(entry), style),
            ink(_tokens(entry.context_tokens), style),
            _template(entry),
            ink(one_line(entry.problem) if not entry.usable else "", DIM),
        ),
    )


def _mark(entry: ModelEntry) -> tuple[str, str]:
    if not entry.usable:
        return "✗", WRONG
    if entry.notes or entry.needs_code:
        return "!", TIGHT
    return ("↓", TIGHT) if entry.incomplete else (" ", DIM)


def detail_rows(
    entry: ModelEntry,
    note: str,
    width: int,
    *,
    chosen: bool,
    trusts: str = "",
    fit: list[Content] | None = None,
) -> list[Content]:
    """Everything known about the entry under the cursor; `note` is what else is to be said,
    `trusts` the fingerprint of its code that the draft trusts, `fit` how it fits the card."""
    state = dim(f"{KINDS[entry.kind]}   Enter chooses it")
    if is_locked(entry, trusts):
        state = ink("! runs only with its own code", TIGHT)
    elif chosen:
        state = ink("● chosen for the draft", ACCENT)
    elif not entry.usable:
        state = ink("✗ cannot be trained", WRONG)
    name = shorten_middle(short_name(entry.id), width - state.cell_length - len(GAP))
    rows = [between(ink(name, STRONG), state, width)]
    if not entry.usable:
        rows.append(ink(f"It {one_line(entry.problem)}", WRONG))
    elif note or entry.incomplete:
        rows.append(dim(note or "Not wholly here: f fetches it now, or the run when it starts."))
    rows += code_rows(entry, trusts)
    if entry.has_chat_template is False and entry.usable:
        words = "! no chat template: zephyr is used for turns, unless Settings names another."
        rows.append(ink(words, TIGHT))
    rows += [ink(f"! {one_line(words)}", TIGHT) for words in entry.notes]
    if entry.quantization and entry.kind != "gguf" and entry.usable:
        words = f"It is quantized already ({entry.quantized}), and keeps that; see 4, quantization."
        rows.append(dim(words))
    rows += fit or []
    rows += pairs(_adapter_facts(entry) if entry.adapter else _model_facts(entry), width)
    where = entry.place if entry.place != entry.id or entry.id.startswith("/") else ""
    if where:
        rows += _folded("lies in", one_line(where), width)
    return rows


def _folded(label: str, value: str, width: int) -> list[Content]:
    """A label and a value that goes on below itself: a path, which has no blanks to break it at."""
    parts = chop_cells(value, max(8, width - LABEL))
    return [_pair(label if at == 0 else "", part) for at, part in enumerate(parts)]


def pairs(facts: list[tuple[str, str]], width: int) -> list[Content]:
    """Labels and values in as many columns as there is room for, read downwards."""
    columns = max(1, min(3, width // PAIR))
    high = -(-len(facts) // columns)
    rows = []
    for at in range(high):
        row = [left(_pair(*fact), width // columns - 2) for fact in facts[at::high]]
        rows.append(Content("  ").join(row))
    return rows


def _model_facts(entry: ModelEntry) -> list[tuple[str, str]]:
    return [
        ("architecture", _architecture(entry)),
        ("parameters", count(entry.parameters)),
        ("on disk", size(entry.size_bytes)),
        ("precision", entry.quantized or entry.dtype or UNKNOWN),
        ("context", _unit(_tokens(entry.context_tokens), "tokens")),
        ("vocabulary", _vocabulary(entry)),
        ("hidden size", _tokens(entry.hidden_size)),
        ("chat template", {True: "yes", False: "no", None: UNKNOWN}[entry.has_chat_template]),
        ("licence", entry.licence or UNKNOWN),
    ]


def _adapter_facts(entry: ModelEntry) -> list[tuple[str, str]]:
    adapter = entry.adapter
    assert adapter is not None
    scale = f", α/r = {number(adapter.alpha / adapter.r)}" if adapter.alpha and adapter.r else ""
    return [
        ("base", one_line(adapter.base)),
        ("kind", one_line(adapter.kind)),
        ("rank", f"{adapter.r}{scale}" if adapter.r else UNKNOWN),
        ("parameters", count(entry.parameters)),
        ("on disk", size(entry.size_bytes)),
        ("targets", one_line(", ".join(adapter.targets)) or UNKNOWN),
    ]


def _vocabulary(entry: ModelEntry) -> str:
    tokens = entry.tokens
    more = f", {tokens:,} used" if tokens is not None and tokens != entry.vocabulary else ""
    return f"{_tokens(entry.vocabulary)}{more}"


def weights_in_memory(entry: ModelEntry) -> Content | None:
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


def _tokens(value: int | None) -> str:
    if value is None:
        return UNKNOWN
    return count(value) if value >= 1_000_000 else f"{value:,}"


def _unit(value: str, unit: str) -> str:
    return value if value == UNKNOWN else f"{value} {unit}"


def _template(entry: ModelEntry) -> Content:
    if entry.has_chat_template is None or entry.adapter:
        return dim(UNKNOWN)
    if entry.has_chat_template:
        return ink("yes", BRIGHT if entry.usable else DIM)
    return ink("! no", TIGHT if entry.usable else DIM)
