"""What a branch takes over from a checkpoint, by the settings that change."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.best import best_step
from tui_lora.core.branching import branching
from tui_lora.core.events import Evaluated
from tui_lora.core.spec import RunSpec, parse_spec


def spec(**lora: Any) -> RunSpec:
    return parse_spec(
        {"model": {"id": "a/b"}, "dataset": {"path": "rows.jsonl"}, "lora": {"r": 8, **lora}}
    )


@pytest.mark.parametrize(
    ("changes", "way", "refused"),
    [
        ({}, "exact", ""),
        ({"training.epochs": 9.0, "lora.dropout": 0.0}, "exact", ""),
        ({"training.learning_rate": 1e-5}, "adapter", ""),
        ({"training.micro_batch": 7}, "adapter", ""),
        ({"dataset.path": "others.jsonl", "training.seed": 1}, "adapter", ""),
        ({"model.id": "c/d"}, "adapter", "model.id"),
        ({"lora.r": 16}, "adapter", "lora.r"),
        ({"training.learning_rate": 1e-5, "lora.alpha": 1}, "adapter", "lora.alpha"),
        ({"lora.r": 8}, "exact", ""),
    ],
)
def test_how_a_branch_begins(changes: dict[str, Any], way: str, refused: str) -> None:
    found = branching(spec(), changes)
    assert (found.way, [p.field for p in found.refused]) == (way, [refused] if refused else [])
    if way == "adapter" and not refused:
        assert [p.field for p in found.because] == list(changes)
        assert "begins a new run at step 0" in found.words(100)


def test_why_it_begins_anew_is_said_of_what_was_changed() -> None:
    said = branching(spec(), {"training.learning_rate": 1e-5, "training.seed": 1}).words(715)
    assert (
        "It could not go on exactly with another learning rate: it stands in the checkpoint, in "
        "the optimizer's state, and is taken from there; with another seed: where" in said
    )


def test_an_adapter_that_took_a_part_of_the_base_is_nothing_alone() -> None:
    pissa = spec(variant="pissa")
    assert not branching(pissa, {"training.epochs": 9.0}).refused
    (problem,) = branching(pissa, {"training.learning_rate": 1e-5}).refused
    assert "took a part out of the base's weights (pissa)" in problem.message


def evaluated(step: int, loss: float, macro_f1: float = 0.0) -> Evaluated:
    return Evaluated(step=step, loss=loss, rows=1, seconds=1, metrics={"macro_f1": macro_f1})


def test_the_best_of_those_that_are_there() -> None:
    found = [
        evaluated(0, 0.1),
        evaluated(2, 1.0, 0.5),
        evaluated(4, 0.5, 0.4),
        evaluated(6, 0.2),
        evaluated(8, float("nan"), 0.9),
        evaluated(10, 0.5),
    ]
    assert best_step(found, [2, 4, 8, 10]) == 4
    assert best_step(found, [2, 4, 8, 10], "macro_f1") == 8
    assert best_step(found, [8, 12]) is None
    # Measured again after the run went back: the later word counts.
    assert best_step([*found, evaluated(4, 3.0)], [2, 4]) == 2
