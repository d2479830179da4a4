"""What may be said about a run and a card: changes that make it fit, and what still fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.fields import put
from tui_lora.core.memory import Forecast, Verdict
from tui_lora.core.spec import RunSpec, check_spec

LARGEST = {
    "training.max_length": "longest rows",
    "training.micro_batch": "most rows at once",
    "lora.r": "largest rank",
}
"""What the largest value of a setting is called."""

Limit = Literal["memory", "context", "setting"]


class RowLengths(BaseModel):
    """Measured rows: `lengths[i]` of them have from `edges[i]` to below `edges[i + 1]` tokens.

    The fields are called as in `LengthsMeasured`, from whose values it can be made.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    edges: tuple[int, ...]
    lengths: tuple[int, ...]
    p95: int
    longest: int

    @property
    def rows(self) -> int:
        return sum(self.lengths)

    def beyond(self, tokens: int) -> int:
        """How many are longer, with rows spread evenly over the bucket that `tokens` lies in."""
        if tokens >= self.longest:
            return 0
        found = 0.0
        for many, begin, end in zip(self.lengths, self.edges, self.edges[1:], strict=False):
            share = (end - 1 - tokens) / (end - begin)
            found += many * min(1.0, max(0.0, share))
        # The longest is one of them.
        return max(1, round(found))


class Change(BaseModel):
    """A change of a run spec that was simulated.

    `changes` are the new values by setting (`lora.r`); `cost` says what it does to speed and
    quality; `saves_gib` is negative where it takes more. `steps` are the titles of what it is made
    of, where it is several. `cut_rows` of the `measured_rows` would be longer than max length;
    None where it does not touch max length, or nothing was measured.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    title: str
    changes: dict[str, Any]
    cost: str
    saves_gib: float
    peak_process_gib: float
    verdict: Verdict
    steps: tuple[str, ...] = ()
    cut_rows: int | None = None
    measured_rows: int | None = None


class Largest(BaseModel):
    """The largest value of one setting, all else as it is, that leaves headroom enough to fit.

    None where no value does. `limit` is what a larger one would meet: the card's memory, the
    model's context, or the setting's own range; `said` is that in words.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    setting: str
    value: int | None
    peak_process_gib: float | None
    limit: Limit
    said: str


class OneWay(BaseModel):
    """One way to train the model. `recipe` says how; `why_not` why there is no figure."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str
    recipe: str
    forecast: Forecast | None = None
    verdict: Verdict = "unknown"
    why_not: str = ""


class Advice(BaseModel):
    """What was found so far about a spec and a card.

    `changes` stand in the order in which to consider them. They make it fit where it does not
    (`verdict` of the spec as it is), else they are what to spend the room on. `nothing` says why
    none of them makes it fit.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    forecast: Forecast
    verdict: Verdict
    changes: tuple[Change, ...] = ()
    nothing: str = ""
    largest: tuple[Largest, ...] = ()
    ways: tuple[OneWay, ...] = ()


def changed(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec | None:
    """The spec with other values; None where it would break a rule that it keeps now, or where
    they change nothing."""
    data: dict[str, Any] = spec.model_dump(mode="json")
    for path, value in changes.items():
        data = put(data, path, value)
    found, problems = check_spec(data)
    if found is None or found == spec:
        return None
    _, before = check_spec(spec.model_dump(mode="json"))
    if {problem.field for problem in problems} - {problem.field for problem in before}:
        return None
    return found
