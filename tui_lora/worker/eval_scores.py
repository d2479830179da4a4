"""What each answer is worth by each metric; a metric may be a function of the user's own."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.task_metrics import Metric, metric_of
from tui_lora.core.text import clean, one_line
from tui_lora.worker.time_limit import TookTooLong, time_limit

PATTERN_S, OWN_S = 1.0, 10.0
"""A pattern may take for ever on a long answer, and so may the user's own code."""

_MOST_FAILURES = 5

Value = Callable[[str, str, Any], float | bool]


@dataclass
class Scorer:
    """One metric; counts what could not be scored. `of` is what the row itself is given to, with
    answer and reference."""

    metric: Metric
    of: Value
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    all_bool: bool = True

    @property
    def kind(self) -> str:
        """A function of the user's that only ever says yes or no tells right from wrong."""
        return "right" if self.metric.own and self.all_bool else self.metric.kind

    def score(self, answer: str, reference: str, row: Any, where: str) -> float | None:
        """The answer's score; None where there is none, which is counted and told with `where`."""
        limit = OWN_S if self.metric.own else PATTERN_S
        try:
            with time_limit(limit):
                value = self.of(answer, reference, row)
            if not isinstance(value, bool):
                self.all_bool = False
            found = float(value)
            if math.isfinite(found):
                return found
            why = f"returned {found}"
        except TookTooLong:
            why = f"took longer than {limit:g} s"
        except (Exception, SystemExit) as error:  # noqa: BLE001 the user's code may raise anything
            why = f"{type(error).__name__}: {one_line(str(error), max_chars=200)}"
        self.failed += 1
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(clean(f"{where}: {why}"))
        return None


def scorers(names: Sequence[str]) -> list[Scorer]:
    """A scorer for each metric. Raises UserError where there is none of that name."""
    found = []
    for name in names:
        metric = metric_of(name)
        if metric.own:
            found.append(Scorer(metric, _own(*metric.own)))
        else:
            assert metric.score is not None
            found.append(Scorer(metric, _plain(metric.score)))
    return found


def _plain(score: Callable[[str, str], float]) -> Value:
    return lambda answer, reference, row: score(answer, reference)


def _own(file: str, name: str) -> Value:
    """The function `name(answer, reference, row)` in a file of the user's. Raises UserError."""
    path = Path(file).expanduser()
    where = clean(str(path))
    if not path.is_file():
        raise UserError("there is no such file.", where=where)
    spec = importlib.util.spec_from_file_location("own_metric", path)
    if spec is None or spec.loader is None:
        raise UserError("Python cannot load it.", where=where)
    module = importlib.util.module_from_spec(spec)
    try:
        with time_limit(OWN_S):
            spec.loader.exec_module(module)
    except TookTooLong:
        raise UserError(
            f"your own code took longer than {OWN_S:g} s to load.", where=where
        ) from None
    except (Exception, SystemExit) as error:
        raise UserError(
            f"your own code cannot be loaded: {type(error).__name__}: "
            f"{one_line(str(error), max_chars=200)}.",
            where=where,
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(
            f"it has no function {name}.", where=where, then=f"def {name}(answer, reference, row):"
        )
    own: Value = function
    return own
