"""What the draft asks of its dataset: which rows, read how, fed to which tokenizer.

Other settings of the draft may be wrong meanwhile; what is shown here does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.state import Draft

if TYPE_CHECKING:
    from tui_lora.core.spec import DatasetSpec, RunSpec

READ_WITH = (
    "task",
    "dataset.format",
    "dataset.columns",
    "dataset.system",
    "dataset.loss_on",
    "model.chat_template",
    "training.max_length",
    "dataset.overlap",
    "dataset.max_rows",
    "dataset.split",
    "dataset.subset",
)
"""The settings that say how rows are read, in the order in which one thinks of them."""

_FED_WITH = (
    *READ_WITH,
    "dataset.path",
    "dataset.revision",
    "dataset.streaming",
    "model.id",
    "model.revision",
    "training.packing",
    "training.micro_batch",
    "training.seed",
)
_OF_ANOTHER = ("format", "columns", "subset", "split", "revision", "eval_split")
"""What was said of one dataset and is wrong of the next."""

QUICKSTART = "quickstart"
QUICKSTART_HELD_OUT = "quickstart-heldout"


@dataclass(frozen=True)
class Asked:
    """`spec` has defaults where the draft does not hold; `trouble` says what of it matters here.

    `path` and `model` are empty while none is chosen.
    """

    path: str = ""
    model: str = ""
    spec: RunSpec | None = None
    trouble: str = ""

    @property
    def data(self) -> DatasetSpec | None:
        return self.spec.dataset if self.spec is not None and self.path else None

    @cached_property
    def rows_key(self) -> tuple[Any, ...]:
        """What rows there are depends on this."""
        data = self.data
        if data is None:
            return ()
        return (data.path, data.subset, data.split, data.revision, data.streaming)

    @cached_property
    def look_key(self) -> tuple[Any, ...]:
        """How they are read depends on this."""
        data, spec = self.data, self.spec
        if data is None or spec is None:
            return ()
        return (*self.rows_key, data.format, data.columns, data.system, spec.task)

    @cached_property
    def fed_key(self) -> tuple[Any, ...]:
        """What they become depends on this."""
        data, spec = self.data, self.spec
        if data is None or spec is None:
            return ()
        model, training = spec.model, spec.training
        return (
            *self.look_key,
            (self.model, model.revision, model.chat_template),
            (data.loss_on, data.overlap, data.max_rows),
            (training.max_length, training.packing, training.micro_batch, training.seed),
        )

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The spec as it travels to a worker."""
        return {} if self.spec is None else self.spec.model_dump(mode="json")


def asked_of(draft: Draft) -> Asked:
    """What a draft asks; touches no disk."""
    from tui_lora.ui.forms.checked import check
    from tui_lora.ui.forms.entry import sentence, setting_at

    checked = check(draft)
    path, model = drafted_text(draft, "dataset.path"), drafted_text(draft, "model.id")
    needed = {"dataset.path", "model.id"}
    wrong = [p for p in checked.problems if p.field in checked.wrong - needed]
    trouble = next(
        (f"{setting_at(p.field).label}: {sentence(p)}" for p in wrong if p.field in _FED_WITH), ""
    )
    return Asked(path, model, checked.sound, trouble)


def choosing(path: str, held_out: str) -> dict[str, Any]:
    """What choosing another dataset changes: what was said of the one before is forgotten.

    The quickstart has a held-out file of its own, which is of no use to other rows.
    """
    forgotten: Mapping[str, Any] = {"format": "auto", "columns": {}}
    changes: dict[str, Any] = {f"dataset.{name}": forgotten.get(name) for name in _OF_ANOTHER}
    changes["dataset.path"] = path
    if path == QUICKSTART and not held_out:
        changes["dataset.eval_path"] = QUICKSTART_HELD_OUT
    elif path != QUICKSTART and held_out == QUICKSTART_HELD_OUT:
        changes["dataset.eval_path"] = None
    return changes
