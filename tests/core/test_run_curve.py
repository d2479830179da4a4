"""Runs over each other: their points, the smoothing, the table, the differences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.recorded import numbered, opening, steps
from tui_lora.core.events import AttemptStarted, Evaluated, StepDone
from tui_lora.core.overlaid import RUN_FIGURES, Run, differing, sorted_runs, table_of
from tui_lora.core.run_curve import FIGURES, RunCurve, points_of, smoothed
from tui_lora.core.run_figures import loss_curves
from tui_lora.core.spec_differences import side_of
from tui_lora.core.view import RunView

SPEC = {"model": {"id": "m"}, "dataset": {"path": "d"}, "lora": {"r": 8}}


def test_smoothing_begins_at_the_first_value_and_keeps_a_constant() -> None:
    assert smoothed([4.0, 4.0, 4.0], 0.9) == pytest.approx([4.0, 4.0, 4.0])
    # m1 = 0.5 * 1 / 0.5, m2 = (0.25 * 1 + 0.5 * 3) / 0.75
    assert smoothed([1.0, 3.0], 0.5) == pytest.approx([1.0, 1.75 / 0.75])
    assert smoothed([1.0, 3.0], 0.0) == [1.0, 3.0]


def step(at: int, mono: float) -> StepDone:
    return StepDone(step=at, mono=mono, epoch=0.1, loss=float(at), tokens_seen=10 * at, eta_s=9)


def test_time_is_that_at_work_and_a_resumed_run_goes_back() -> None:
    curve = RunCurve()
    curve.apply(AttemptStarted(attempt=1, pid=1, mono=100))
    for at in (1, 2, 3):
        curve.apply(step(at, 100 + at))
    curve.apply(Evaluated(step=3, mono=104, loss=3.0, rows=2, seconds=1))
    # Hours later, on a machine that was started anew; from the checkpoint of step 2. What was done
    # after it is done again, and took its time none the less.
    curve.apply(AttemptStarted(attempt=2, pid=2, mono=5, resumed_from=2))
    assert curve.seconds == 4
    curve.apply(step(3, 7.5))
    assert points_of(curve, FIGURES[0], "step") == ([1, 2, 3], [1, 2, 3])
    assert points_of(curve, FIGURES[0], "time")[0] == [1, 2, 6.5]
    assert points_of(curve, FIGURES[0], "tokens")[0] == [10, 20, 30]
    assert curve.evaluations == []
    assert curve.seconds == 6.5


def test_a_long_run_keeps_its_shape_in_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui_lora.core.run_curve.MOST_POINTS", 100)
    curve = RunCurve()
    curve.apply(AttemptStarted(attempt=1, pid=1))
    for at in range(1, 1001):
        curve.apply(step(at, at))
    x, y = points_of(curve, FIGURES[0], "step")
    assert 50 <= len(x) <= 101
    assert x == y
    assert (x[0], x[-1]) == (1, pytest.approx(1000, abs=20))


def run(name: str, r: int, total: int = 200) -> Run:
    curve = RunCurve()
    for event in numbered(iter([*opening(total), *steps(1, total, total)])):
        curve.apply(event)
    side = side_of(name, {**SPEC, "lora": {"r": r}}, {"model.dtype": "bfloat16"})
    return Run(name, "done", False, "sft", curve, total, total, side)


def test_the_table_is_sorted_by_what_is_better() -> None:
    runs = [run("slow", 8), run("long", 8, 400)]
    best = RUN_FIGURES[1]
    assert [one.name for one in sorted_runs(runs, best)] == sorted(
        ("slow", "long"),
        key=lambda name: next(r for r in runs if r.name == name).best[1],  # type: ignore[index]
    )
    nothing = Run("new", "draft", False, "sft", RunCurve())
    assert sorted_runs([nothing, *runs], best)[-1] is nothing
    table = table_of([runs[0], nothing], ["A", "B"])
    assert table.rows[1][:4] == ("B", "new", "draft", None)
    assert len(table.rows[0]) == len(table.columns)


def test_the_settings_that_differ_stand_for_each_run() -> None:
    sides = [run("a", 8).side, None, run("b", 16).side, run("c", 8).side]
    found = differing(sides)
    assert [(one.setting.path, one.texts) for one in found] == [("lora.r", ("8", "", "16", "8"))]
    assert differing(sides[:2]) == ()


@pytest.mark.parametrize(
    ("task", "unit"),
    [("sft", ", nats a token"), ("classification", ", nats a row"), ("dpo", ", as dpo defines it")],
)
def test_a_loss_is_counted_in_what_its_task_counts(task: str, unit: str) -> None:
    one = replace(run("a", 8), task=task)
    assert f"held-out{unit}" in table_of([one], ["A"]).columns
    assert loss_curves("a", RunView(), task).y == f"loss{unit}"
    assert "VRAM, GiB, peak reserved" in table_of([one], ["A"]).columns
