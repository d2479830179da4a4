"""What stands in a run's log of a change, and what a run that begins at a step knows of it."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.events import AttemptStarted, Evaluated, SpecChanged
from tui_lora.core.log_words import changed_text
from tui_lora.core.view import RunView


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        (
            {"evaluation.log_every_steps": 5, "training.epochs": 41.0},
            "as you asked",
            "changed: log every 5, epochs 41 (as you asked)",
        ),
        ({"training.max_steps": None}, "", "changed: max steps not set"),
        ({"training.max_steps": 2000}, "", "changed: max steps 2,000"),
        ({"dataset.colour": "[red]"}, "As it was.", "changed: dataset.colour [red] (As it was)"),
    ],
)
def test_a_change_is_told_as_the_forms_call_it(
    changes: dict[str, Any], reason: str, words: str
) -> None:
    event = SpecChanged(changes=changes, reason=reason)
    assert changed_text(event) == words
    view = RunView()
    view.apply(event)
    assert view.log[-1].text == words


def test_a_branch_stands_at_the_step_that_it_was_made_from() -> None:
    view = RunView()
    view.apply(Evaluated(step=700, loss=2.0, rows=9, seconds=1.0))
    view.apply(AttemptStarted(attempt=1, pid=2, versions={}, resumed_from=715))
    assert view.step == 715
    view.apply(AttemptStarted(attempt=2, pid=3, versions={}, resumed_from=None))
    assert view.step == 0


def test_a_snapshot_measures_nothing_more() -> None:
    view = RunView()
    view.apply(Evaluated(step=50, loss=2.0, rows=9, seconds=1.0))
    before = view.snapshot()
    view.apply(Evaluated(step=100, loss=1.0, rows=9, seconds=1.0))
    assert [found.step for found in before.evaluations] == [50]
