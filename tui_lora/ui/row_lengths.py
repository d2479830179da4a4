"""The lengths that rows were measured at last, for whoever asks about these very rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_lora.store.paths import expanded

if TYPE_CHECKING:
    from tui_lora.core.advice import RowLengths
    from tui_lora.core.inspect import LengthsMeasured
    from tui_lora.core.spec import RunSpec

_HELD_OUT = {"eval_path", "eval_split", "eval_share", "eval_rows"}
_LEARNED = {"loss_on", "overlap"}
"""Settings of a dataset on which the lengths of its rows do not depend."""


@dataclass(frozen=True)
class LengthsKnown:
    """`of` names the rows, and the model and template in whose tokens they were measured."""

    of: tuple[Any, ...]
    measured: LengthsMeasured


def lengths_of(spec: RunSpec) -> tuple[Any, ...]:
    """What the lengths of a run's rows depend on, before anything is cut."""
    data = spec.dataset.model_dump(mode="json", exclude=_HELD_OUT | _LEARNED)
    data["path"] = str(expanded(spec.dataset.path).absolute())
    model = spec.model
    place = str(expanded(model.id).absolute())
    told = (place, model.revision, model.chat_template, spec.task, spec.lora.new_tokens)
    return (repr(sorted(data.items())), *told)


def row_lengths(known: LengthsKnown | None, spec: RunSpec) -> RowLengths | None:
    """Those of the rows of `spec`; None where others were measured, or none to their end, and of
    plain text, whose passages are cut nowhere."""
    from tui_lora.core.advice import RowLengths

    if known is None or known.of != lengths_of(spec):
        return None
    measured = known.measured
    if not measured.done or not measured.rows or measured.passages:
        return None
    return RowLengths.model_validate(measured.model_dump(include=set(RowLengths.model_fields)))
