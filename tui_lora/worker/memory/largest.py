"""The largest value of a setting that still fits, found with a few simulated points."""

from __future__ import annotations

from dataclasses import dataclass

from tui_lora.core.advice import Largest, Limit, changed
from tui_lora.core.candidates import LENGTH_STEP
from tui_lora.core.fields import get, setting_at
from tui_lora.core.memory import Forecast
from tui_lora.core.spec import RunSpec

MOST_SIMULATED = 6
_MOST_EARLY = 24
_MOST_AT_ONCE = 4
"""No value is tried that is more times as large as the largest one that was seen to fit."""


@dataclass(frozen=True)
class Search:
    """Values of `setting` in whole `step`s."""

    setting: str
    step: int


SEARCHES = (
    Search("training.max_length", LENGTH_STEP),
    Search("training.micro_batch", 1),
    Search("lora.r", 4),
)


class Searching:
    """A search that is told what each value takes, which grows with it.

    Memory is a line in pieces under fused attention, so the next value to try lies where the line
    through two known points meets the budget.
    """

    def __init__(self, search: Search, spec: RunSpec, base: Forecast, context: int | None) -> None:
        self._search, self._spec = search, spec
        found = setting_at(search.setting)
        most = int(found.maximum or 0)
        self._ends: tuple[int, Limit] = (most, "setting")
        if search.setting == "training.max_length" and context is not None and context < most:
            self._ends = (context, "context")
        self._least = max(search.step, int(found.minimum or 1))
        if spec.task == "kto" and search.setting == "training.micro_batch":
            self._least = 2
        self._points: dict[int, float] = {self._now: base.peak_process_gib}
        self._tried = 0
        self._early: set[int] = set()
        """Values of which only what lies between simulated sizes is known."""
        self.surely = False
        self._refused: int | None = None
        """The least value that was refused, or of which nothing can be told."""
        self._wanted: int | None = None
        self._budget = 0.0

    @property
    def _now(self) -> int:
        return int(get(self._spec.model_dump(), self._search.setting))

    @property
    def spec(self) -> RunSpec | None:
        """The run with the value that is to be tried; None where it would break a rule."""
        return changed(self._spec, {self._search.setting: self._wanted})

    def next(self, budget_gib: float) -> bool:
        """Whether there is another value to try, so that a process takes no more than that."""
        self._budget = budget_gib
        self._wanted, self.surely = None, False
        if self._tried < MOST_SIMULATED and len(self._early) < _MOST_EARLY:
            self._wanted = self._guess()
        if self._wanted is None:
            unsure = [value for value in (self._fits, self._over) if value in self._early]
            self._wanted, self.surely = next(iter(unsure), None), True
        return self._wanted is not None

    def told(self, found: Forecast | None, *, early: bool = False) -> None:
        """What the value takes; None where it cannot be told or would be refused, and neither it
        nor anything beyond it is tried again.

        `early`: by sizes that were simulated before. Of the answer, all is simulated in the end.
        """
        assert self._wanted is not None
        if found is None:
            # Which takes no simulation.
            self._refused = self._wanted
            self._early.discard(self._wanted)
            self._points.pop(self._wanted, None)
            return
        if early:
            self._early.add(self._wanted)
        else:
            self._early.discard(self._wanted)
            self._tried += 1
        self._points[self._wanted] = found.peak_process_gib

    def answer(self, total_gib: float, others_gib: float) -> Largest:
        """What was found, and what is in the way of more."""
        fits, over = self._fits, self._over
        last, limit = self._ends

        def taken(value: int) -> str:
            gib = self._points[value]
            much = "does not fit" if gib > total_gib - others_gib else "is tight"
            return f"{value:,} it takes {gib:.1f} of {total_gib:g} GiB, which {much}"

        if over is not None:
            limit = "memory"
            said = f"even at {taken(min(self._points))}" if fits is None else f"at {taken(over)}"
        elif self._refused is not None:
            limit = "setting"
            said = f"{self._refused:,} would be refused, or cannot be told"
            if fits is not None and self._refused - fits > self._search.step:
                said += "; what lies between was not tried"
        elif limit == "context":
            said = f"the model was built for {last:,} tokens"
        else:
            said = f"the setting ends at {last:,}" if fits == last else "larger ones were not tried"
        return Largest(
            setting=self._search.setting,
            value=fits,
            peak_process_gib=None if fits is None else self._points[fits],
            limit=limit,
            said=said,
        )

    @property
    def _fits(self) -> int | None:
        last, _ = self._ends
        within = [n for n, gib in self._points.items() if gib <= self._budget and n <= last]
        return max(within, default=None)

    @property
    def _over(self) -> int | None:
        least = self._fits or 0
        beyond = [n for n, gib in self._points.items() if gib > self._budget and n > least]
        return min(beyond, default=None)

    def _guess(self) -> int | None:
        fits, over, step = self._fits, self._over, self._search.step
        last = self._ends[0]
        if self._refused is not None:
            if fits is None or over is not None:
                return None
            middle = (fits + self._refused) // 2 // step * step
            return middle if middle > fits else None
        if fits is None and over is None:
            return last
        if fits is None:
            assert over is not None
            if over <= self._least:
                return None
            return max(self._least, min(self._meets(), over - 1) // step * step)
        if over is not None:
            low, high = (fits // step + 1) * step, -(-over // step) * step - step
            if low > high:
                return None
            return max(low, min(high, self._meets() // step * step))
        if fits >= last:
            return None
        wanted = 2 * fits if len(self._points) == 1 else self._meets()
        wanted = max(fits + step, min(wanted, _MOST_AT_ONCE * fits)) // step * step
        return min(wanted, last)

    def _meets(self) -> int:
        """Where the line through the two points nearest to the budget meets it."""
        near = sorted(self._points, key=lambda value: abs(self._points[value] - self._budget))
        if len(near) < 2:
            return near[0] // 2
        a, b = sorted(near[:2])
        rise = (self._points[b] - self._points[a]) / (b - a)
        if rise <= 0:
            return 2 * b
        return int(a + (self._budget - self._points[a]) / rise)
