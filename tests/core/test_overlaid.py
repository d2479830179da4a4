"""Evaluations in the table of runs: what ranks first, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.test_evaluated_rows import evaluation
from tests.core.test_run_curve import run
from tui_lora.core.evaluation import Evaluation, Figure, MetricReport, Part
from tui_lora.core.overlaid import Run, metric_columns, sorted_runs, table_of, warnings


def measured(name: str, **more: object) -> Run:
    found = evaluation(answers=4)
    return replace(run(name, 8), evaluation=found.model_copy(update=more))


def scored(name: str, metric: str, value: float) -> Run:
    figure = Figure(value=value)
    report = MetricReport(
        name=metric,
        label=metric,
        why="",
        kind="score",
        rows=4,
        base=Figure(),
        tuned=figure,
        change=Figure(),
    )
    found = evaluation().model_copy(update={"metrics": (report,)})
    return replace(run(name, 8), evaluation=found)


@pytest.mark.parametrize(("metric", "first"), [("reward_bad", "low"), ("reward_good", "high")])
def test_the_better_one_comes_first(metric: str, first: str) -> None:
    runs = [scored("low", metric, -2.0), scored("high", metric, 2.0)]
    assert sorted_runs(runs, metric_columns(runs)[0])[0].name == first


def test_metrics_of_other_rows_do_not_compare() -> None:
    one = measured("one")
    assert warnings([one, measured("two")]) == ()
    other = measured("two", test_file="b.jsonl", quantization="int8")
    told = "metrics do not compare: how the base is stored, the file of rows"
    assert warnings([one, other, other]) == (told,)
    assert told in table_of([one, other], ["A", "B"]).note


def test_rows_that_one_of_them_alone_measured_do_not_matter() -> None:
    found = evaluation(answers=4)
    more = found.parts[0].model_copy(update={"part": "train", "rows": 9})
    other = found.model_copy(update={"parts": (*found.parts, more)})
    pair = [replace(run(name, 8), evaluation=one) for name, one in (("a", found), ("b", other))]
    assert warnings(pair) == ()
    without = other.model_copy(update={"metrics": ()})
    assert warnings([pair[0], replace(pair[1], evaluation=without)]) == ()


FED = "metrics do not compare: the rows as they were fed"


def fed(found: Evaluation, part: Part, digest: str) -> Evaluation:
    """The evaluation with a part that was fed as the digest says."""
    others = tuple(one for one in found.parts if one.part != part)
    told = found.parts[0].model_copy(update={"part": part, "fed": digest})
    return found.model_copy(update={"parts": (*others, told)})


@pytest.mark.parametrize(
    ("task", "part", "told"),
    [
        ("sft", "train", ()),
        ("sft", "eval", ()),
        ("dpo", "train", ()),
        ("dpo", "eval", (FED,)),
        ("classification", "train", ()),
        ("classification", "eval", (FED,)),
    ],
)
def test_metrics_compare_by_the_rows_that_they_stand_on(
    task: str, part: Part, told: tuple[str, ...]
) -> None:
    found = evaluation(answers=4, task=task)
    pair = [replace(run(name, 8), evaluation=fed(found, part, name)) for name in ("a", "b")]
    assert warnings(pair) == told


def test_where_nothing_was_held_out_they_stand_on_trained_rows() -> None:
    found = evaluation(answers=4, task="kto")
    trained = found.parts[0].model_copy(update={"part": "train"})
    found = found.model_copy(update={"parts": (trained,)})
    pair = [replace(run(name, 8), evaluation=fed(found, "train", name)) for name in ("a", "b")]
    assert warnings(pair) == (FED,)


def test_metrics_of_answers_compare_by_what_was_answered() -> None:
    asked = evaluation(answers=4).answers
    assert asked is not None
    pair = [measured(name, answers=asked.model_copy(update={"fed": name})) for name in ("a", "b")]
    assert warnings(pair) == (FED,)
