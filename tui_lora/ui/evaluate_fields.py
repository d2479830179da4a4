"""The fields of what an evaluation is asked for: their choices, and what is said of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import ANSWER_ROWS, MAX_NEW_TOKENS, PERPLEXITY_ROWS
from tui_lora.core.evaluation import PARTS, Part
from tui_lora.core.text import one_line
from tui_lora.store.evaluation_order import Wanted
from tui_lora.ui.evaluate_facts import AND, metrics_in

NAMES: dict[Part, str] = {"eval": "held-out", "train": "trained", "general": "general text"}
GOES_ON, ANEW = "goes on", "begins anew"


@dataclass(frozen=True)
class Field:
    """`typed`: a line of text; the others have choices."""

    name: str
    label: str
    help: str
    typed: bool = False


FIELDS = (
    Field("earlier", "what is there", "An evaluation that did not end is gone on with where all "
          "that its figures depend on is the same; else it begins anew by itself."),
    Field("checkpoint", "adapter", "The session's own adapter, or as it was at a checkpoint."),
    Field("parts", "loss of", "Perplexity of rows held out and rows trained on, and of a general "
          "text that no row is about: what got worse there was forgotten."),
    Field("metrics", "answers by", "Empty: what suits the rows. Else gsm8k, exact_match, f1, "
          "rouge_l, json:KEY,KEY, regex:PATTERN, FILE.py:FUNCTION or none; several with “and”.",
          typed=True),
    Field("rows", "rows", f"At most so many of each part and so many answers, drawn by seed; "
          f"empty: {PERPLEXITY_ROWS} and {ANSWER_ROWS}.", typed=True),
    Field("max_tokens", "longest answer", "Tokens of an answer at most; one that needs more is "
          "cut, and seldom right.", typed=True),
    Field("data", "rows from", "A file of rows in place of the held-out ones, as a test set; "
          "empty: those that were held out.", typed=True),
    Field("devices", "device", "Where base and adapter are loaded; the processor is slow."),
    Field("quantization", "base stored", "As the run had it, or smaller: figures are of the base "
          "as it is stored, so compare only those that are stored alike."),
)  # fmt: skip


def fields_of(task: str, *, left: bool) -> list[Field]:
    """The fields that play a part; `left`: an evaluation did not end."""
    idle = set() if left else {"earlier"}
    if task == "classification":
        # It gives labels, which are always counted.
        idle |= {"metrics", "max_tokens"}
    return [field for field in FIELDS if field.name not in idle]


def choices(name: str, wanted: Wanted, steps: Sequence[int | None], task: str) -> list[object]:
    """The values that a field can be given."""
    if name == "earlier":
        return [False, True]
    if name == "checkpoint":
        return list(steps)
    if name == "parts":
        found: list[object] = [PARTS, ("eval", "general"), ("eval", "train"), ("eval",), ()]
        if task == "classification":
            # A classifier writes no words.
            found = [("eval", "train"), ("eval",)]
        return found if wanted.parts in found else [wanted.parts, *found]
    if name == "devices":
        return [None, "cpu"] if wanted.devices in (None, "cpu") else [None, "cpu", wanted.devices]
    return [None, "none", "int8", "nf4"]


def value_of(name: str, wanted: Wanted) -> object:
    return wanted.anew if name == "earlier" else getattr(wanted, name)


def with_choice(name: str, wanted: Wanted, value: object) -> Wanted:
    changed = {"anew" if name == "earlier" else name: value}
    return replace(wanted, **changed)  # type: ignore[arg-type]


def shown(name: str, wanted: Wanted, asked: dict[str, str], step: int | None) -> str:
    """A value as it stands in its field. `asked` has what the run's own spec says; `step` is that
    of the session's own adapter."""
    value = value_of(name, wanted)
    if name == "earlier":
        return ANEW if value else GOES_ON
    if name == "checkpoint":
        own = f"the adapter, step {step:,}" if step is not None else "the adapter"
        return own if value is None else f"checkpoint at step {value:,}"
    if name == "parts":
        return ", ".join(NAMES[part] for part in wanted.parts) or "none: answers alone"
    if name == "metrics":
        return one_line(AND.join(wanted.metrics or ()))
    if name in ("rows", "max_tokens", "data"):
        return "" if value is None else one_line(str(value))
    return str(value) if value is not None else f"as the run had it ({asked.get(name, '—')})"


def with_typed(name: str, wanted: Wanted, text: str) -> Wanted:
    """The wanted with what was typed. Raises UserError."""
    text = text.strip()
    if name == "metrics":
        return replace(wanted, metrics=metrics_in(text))
    if name == "data":
        return replace(wanted, data=text or None)
    if name == "rows":
        return replace(wanted, rows=_count(text, 1_000_000) if text else None)
    return replace(wanted, max_tokens=_count(text, 32_768) if text else MAX_NEW_TOKENS)


def _count(text: str, most: int) -> int:
    try:
        value = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise UserError(f"a whole number from 1 to {most:,}, please.")
    return value
