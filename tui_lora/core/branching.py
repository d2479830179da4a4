"""What a new session can take over from a checkpoint of another, once settings are changed.

As long as the checkpoint survives the changes (`core/resumable.py`) the branch goes on exactly from
its step. Else it begins a run of its own from the checkpoint's adapter, where that means anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tui_lora.core.errors import Problem
from tui_lora.core.fields import get, setting_at
from tui_lora.core.resumable import judged
from tui_lora.core.spec import RunSpec
from tui_lora.core.variants import CHANGE_THE_BASE

Way = Literal["exact", "adapter"]
"""Goes on from the step with optimizer, schedule and random state; or begins at step 0 with the
adapter's weights alone."""

_OF_THE_ADAPTER = (
    "lora.r",
    "lora.alpha",
    "lora.target_modules",
    "lora.exclude",
    "lora.layers",
    "lora.rank_pattern",
    "lora.alpha_pattern",
    "lora.bias",
    "lora.modules_to_save",
    "lora.variant",
    "lora.new_tokens",
)
_NEVER = ("model.id", "model.revision", "lora.start_from")


@dataclass(frozen=True)
class Branching:
    """`because` is what the checkpoint does not survive where the way is `adapter`, `refused` what
    even its adapter cannot be: by setting and why."""

    way: Way
    because: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[Problem, ...] = ()

    def words(self, step: int) -> str:
        """How the branch begins, in a sentence."""
        if self.way == "exact":
            return f"It goes on exactly from step {step:,}: optimizer, schedule and random state."
        why = "; with another ".join(
            f"{setting_at(problem.field).label}: "
            + problem.message.removeprefix("cannot change now: ").rstrip(".")
            for problem in self.because
        )
        return (
            f"It begins a new run at step 0 from the adapter of step {step:,}, with a new "
            f"optimizer and schedule. It could not go on exactly with another {why}."
        )


def branching(source: RunSpec, changes: Mapping[str, Any]) -> Branching:
    """How a branch of a run of `source` would begin; `changes` are new values by setting. Raises
    KeyError for what is no setting."""
    found = judged(source, changes)
    if not found.refused:
        return Branching("exact", notes=found.notes)
    data = source.model_dump(mode="json")
    refused = [problem for problem in found.refused if problem.field in _NEVER]
    for path, value in changes.items():
        if path in _OF_THE_ADAPTER and get(data, path) != value:
            why = "cannot change in a branch: an adapter that is trained on keeps its own."
            refused.append(Problem(why, path))
    if source.lora.variant in CHANGE_THE_BASE and not refused:
        others = ", ".join(problem.field for problem in found.refused)
        why = (
            f"took a part out of the base's weights ({source.lora.variant}), so that its adapter "
            f"alone means nothing; and its checkpoint does not survive another {others}."
        )
        refused.append(Problem(why, "lora.variant"))
    because = tuple(p for p in found.refused if p.field not in (*_NEVER, *_OF_THE_ADAPTER))
    return Branching("adapter", because, (), tuple(refused))
