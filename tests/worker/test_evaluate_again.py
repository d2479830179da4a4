"""Evaluations that come after another: what one left is gone on with, and told apart from it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_tiny_adapter
from tests.worker.test_evaluate import Listener, measured, session
from tests.workers import tiny_spec
from tui_lora.core.evaluate import (
    Evaluate,
    EvaluationFailed,
    EvaluationPlanned,
    EvaluationProgressed,
    Preparing,
)
from tui_lora.core.evaluation import LossRow
from tui_lora.core.evaluation_sides import why_not_alike
from tui_lora.core.formats import Reading
from tui_lora.store import evaluations
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


@pytest.fixture
def run(tiny_model: Path, rows: Path, tmp_path: Path) -> SessionPaths:
    return session(tmp_path / "sessions", tiny_spec(tiny_model, rows), tiny_model)


def done_before(listener: Listener) -> dict[str, int]:
    planned = next(m for m in listener.heard if isinstance(m, EvaluationPlanned))
    return {part.part: part.done for part in planned.parts}


def test_a_narrower_one_in_between_costs_no_answer(run: SessionPaths) -> None:
    asked = {"parts": (), "metrics": ("f1",), "batch": 2}
    measured(run, Listener(EvaluationProgressed, 2), **asked)
    (partial,) = evaluations.partials(run)
    answers = len(partial.read_text().splitlines()) - 1
    assert 0 < answers < 8
    between = measured(run, parts=("eval",), metrics=("none",))
    assert between.evaluation.complete
    assert evaluations.partials(run) == [partial]
    listener = Listener()
    ended = measured(run, listener, **{**asked, "parts": ("eval",)})
    assert done_before(listener) == {"eval": 8, "answers": answers}
    assert evaluations.partials(run) == []
    assert {str(kept.path) for kept in evaluations.listed(run)} == {between.path, ended.path}


def test_an_adapter_that_was_trained_on_has_no_figures_yet(
    run: SessionPaths, tiny_model: Path
) -> None:
    asked = {"parts": ("eval",), "metrics": ("none",)}
    first = measured(run, **asked).evaluation
    assert [kept.current for kept in evaluations.listed(run)] == [True]
    make_tiny_adapter(tiny_model, run.adapter, scale=0.4)
    assert [kept.current for kept in evaluations.listed(run)] == [False]
    again = measured(run, **asked).evaluation
    assert again.adapter != first.adapter
    assert [kept.current for kept in evaluations.listed(run)] == [True, False]
    # The rows are the same ones all the same.
    assert why_not_alike(first, again) == []


def test_rows_that_were_edited_are_others(run: SessionPaths, tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    asked = {"parts": ("eval",), "metrics": ("f1",), "data": str(file)}
    found = []
    for answer in ("4", "5"):
        file.write_text(f'{{"question": "What is 2 + 2?", "answer": "It is {answer}."}}\n' * 2)
        found.append(measured(run, **asked).evaluation)
    assert why_not_alike(found[0], found[1]) == ["the rows as they were fed"]


@pytest.mark.parametrize("good_batches", [0, 1])
def test_what_is_kept_is_said_where_it_fails(
    run: SessionPaths, good_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker import eval_work
    from tui_lora.worker.evaluate import _answer

    really, left = eval_work.losses, [2 * good_batches]

    def scarce(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return really(*given)

    class Pipes:
        def say(self, message: object) -> None:
            pass

    monkeypatch.setattr(eval_work, "losses", scarce)
    asked = Evaluate(
        session=str(run.folder),
        adapter=str(run.adapter),
        parts=("eval",),
        metrics=("none",),
        devices="cpu",
        batch=1,
    )
    failed = _answer(asked, Pipes(), threading.Event())  # type: ignore[arg-type]
    assert isinstance(failed, EvaluationFailed)
    assert "one row at a time" in failed.message
    assert failed.exit_code == 3
    assert [str(path) for path in evaluations.partials(run)] == [failed.kept] * good_batches
    assert bool(failed.kept) == bool(good_batches)


def test_cancelled_before_the_first_row_it_leaves_nothing(run: SessionPaths) -> None:
    from tui_lora.worker.evaluation import CalledOff

    with pytest.raises(CalledOff):
        measured(run, Listener(EvaluationPlanned), parts=("eval",), metrics=("none",))
    with pytest.raises(CalledOff):
        measured(run, Listener(Preparing), parts=("eval",), metrics=("none",))
    assert evaluations.partials(run) == []


def test_the_share_that_is_cut_is_of_both_answers_of_a_pair() -> None:
    """A chosen and a rejected answer of 150 tokens each, of which 100 are fed."""
    from tui_lora.worker.eval_report import part_report
    from tui_lora.worker.eval_rows import Item, Rows
    from tui_lora.worker.spool import Place

    item = Item("eval", 0, Place("f", 1, 0), {"chosen_ids": [1]}, 200, 100, 120, "", {})
    reading = Reading("preference", {}, "pairs")
    rows = Rows("eval", "f", reading, (item,), 1, 0, "", None)
    row = LossRow(part="eval", at=0, tokens=100, base=3.0, tuned=2.0)
    report = part_report(rows, [row], task="dpo", seed=0)
    assert report.tokens == 100
    assert report.cut_share == pytest.approx(1 / 3)
