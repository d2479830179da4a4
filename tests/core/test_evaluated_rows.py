"""Rows of evaluations as lists, two evaluations beside each other, and how long one takes."""

from __future__ import annotations

import math

import pytest

from tui_lora.core.evaluated_rows import Kind, kinds, measured, of_the_same
from tui_lora.core.evaluation import (
    AnswerRow,
    AnswersReport,
    Evaluation,
    Figure,
    Loss,
    LossRow,
    MetricReport,
    PartReport,
    Written,
)
from tui_lora.core.evaluation_cost import expected_s
from tui_lora.core.evaluation_sides import sides, why_not_alike
from tui_lora.ui.evaluated_text import change_words, table_row


def loss(at: int, base: float, tuned: float, **more: object) -> LossRow:
    told = {"part": "eval", "at": at, "file": "a", "line": at + 1, "tokens": 2, **more}
    return LossRow.model_validate({**told, "base": base, "tuned": tuned})


def answer(at: int, base: float | None, tuned: float | None, file: str = "a") -> AnswerRow:
    def written(score: float | None) -> Written:
        return Written(text="x", tokens=1, ended_by="end", scores={"em": score})

    return AnswerRow(
        at=at,
        file=file,
        line=at + 1,
        question="q",
        reference="r",
        base=written(base),
        tuned=written(tuned),
    )


def evaluation(
    rows: int = 4, answers: int = 0, seconds: float = 60.0, **more: object
) -> Evaluation:
    figure = Figure(value=2.0)
    part = PartReport(
        part="eval",
        source="s",
        unit="rows",
        rows=rows,
        of=rows,
        tokens=9,
        base=Loss(perplexity=figure),
        tuned=Loss(perplexity=figure),
        change=Figure(),
    )
    metric = MetricReport(
        name="em", label="em", why="", kind="right", rows=4, base=figure, tuned=figure,
        change=figure,
    )  # fmt: skip
    asked = AnswersReport(source="s", rows=answers, of=answers, max_new_tokens=100)
    told = {
        "t": 1.0,
        "session": "s",
        "task": "sft",
        "model": "m",
        "device": "cpu",
        "dtype": "float32",
        "quantization": "none",
        "seed": 0,
        "seconds": seconds,
        "parts": (part,) if rows else (),
        "answers": asked if answers else None,
        "metrics": (metric,) if answers else (),
    }
    return Evaluation.model_validate({**told, **more})


def test_the_most_improved_come_first_and_what_is_unknown_last() -> None:
    rows = [loss(0, 4.0, 6.0), loss(1, 4.0, math.nan), loss(2, 4.0, 1.0), loss(3, 4.0, 4.0)]
    found = measured(Kind("eval", part="eval"), rows)
    assert [one.row.at for one in found] == [2, 3, 0, 1]
    assert [one.change for one in found] == [1.5, 0.0, -1.0, None]


@pytest.mark.parametrize(
    ("base", "tuned", "outcome"),
    [
        (0.0, 1.0, "gained"),
        (1.0, 0.0, "lost"),
        (1.0, 1.0, "both"),
        (0.0, 0.0, "neither"),
        (None, 1.0, None),
    ],
)
def test_from_what_to_what_an_answer_came(
    base: float | None, tuned: float | None, outcome: str | None
) -> None:
    found = measured(Kind("em", right=True), [answer(0, base, tuned)])
    assert found[0].outcome == outcome


def test_labels_and_pairs_are_right_or_wrong_too() -> None:
    labelled = loss(0, 1.0, 1.0, label="a", predicted_base="b", predicted_tuned="a")
    pair = loss(1, 3.0, 1.0, rejected_base=2.0, rejected_tuned=2.0)
    found = measured(Kind("eval", part="eval", right=True), [labelled, pair])
    assert [one.outcome for one in found] == ["gained", "gained"]
    (kind,) = kinds(evaluation(), [labelled])
    assert kind.right


def test_a_bad_answer_is_better_the_less_likely_it_is() -> None:
    rows = [loss(0, 4.0, 12.0, good=False), loss(1, 4.0, 2.0, good=True)]
    bad, good = measured(Kind("eval", part="eval"), rows)
    assert (bad.row.at, bad.change) == (0, 4.0)
    assert (good.row.at, good.change) == (1, 1.0)
    assert (change_words(bad).plain, change_words(good).plain) == ("▲ 4.00", "▼ 1.00")
    row = table_row(bad, Kind("eval", part="eval", label="held-out rows"))
    assert row.cells[-1].plain.startswith("bad answer")


def test_bad_answers_are_not_counted_beside_the_figure_of_good_ones() -> None:
    left = [loss(at, 4.0, 4.0, good=at < 2) for at in range(10)]
    right = [loss(at, 4.0, 8.0 if at >= 2 else 2.0, good=at < 2) for at in range(10)]
    (one,) = sides(evaluation(2), evaluation(2), left, right)
    assert (one.better, one.worse) == (2, 0)


def test_rows_of_a_file_are_not_called_held_out() -> None:
    given = evaluation(test_file="/data/test.jsonl")
    assert given.called("eval") == "given rows"
    assert given.called("train") == evaluation().called("train") == "trained rows"
    assert [kind.label for kind in kinds(given, [loss(0, 1.0, 1.0)])] == ["given rows"]
    assert sides(given, given, [], [])[0].label == "given rows"


def test_a_row_that_was_measured_and_answered_is_one() -> None:
    rows = [loss(0, 1.0, 1.0), answer(0, 1.0, 0.0), answer(0, 1.0, 0.0, file="b")]
    assert of_the_same(rows[0], rows) is rows[1]
    assert of_the_same(loss(5, 1.0, 1.0), rows) is None
    assert [kind.name for kind in kinds(evaluation(answers=1), rows)] == ["eval", "em"]


def test_two_evaluations_are_tested_over_the_rows_that_both_have() -> None:
    left = [*(loss(at, 4.0, 4.0) for at in range(6)), *(answer(at, 0.0, 0.0) for at in range(5))]
    right = [*(loss(at, 4.0, 2.0) for at in range(5)), *(answer(at, 0.0, 1.0) for at in range(5))]
    found = {one.name: one for one in sides(evaluation(6, 5), evaluation(5, 5), left, right)}
    # Five of five, as a fair coin falls twice in 32 throws.
    assert (found["eval"].better, found["eval"].worse, found["eval"].p) == (5, 0, 2 / 32)
    assert found["em"].p == 2 / 32
    assert found["eval"].base == 2.0


def test_what_differs_is_named() -> None:
    one = evaluation()
    assert why_not_alike(one, evaluation(step=40)) == []
    assert why_not_alike(one, evaluation(revision="a")) == []
    # The same path and as many rows, of which one was edited.
    as_fed = [one.parts[0].model_copy(update={"fed": fed}) for fed in ("a", "b")]
    before, edited = (evaluation(parts=(part,)) for part in as_fed)
    assert why_not_alike(before, edited) == ["the rows as they were fed"]
    # What an earlier version fed was not written down.
    assert why_not_alike(one, edited) == why_not_alike(edited, one) == []
    assert why_not_alike(one, evaluation(parts=())) == ["how many rows"]
    assert why_not_alike(one, evaluation(rows=5, seed=1)) == [
        "the seed that drew the rows",
        "how many rows",
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((100, 10, 100), (60.0, 60.0)),
        ((200, 10, 100), (60.0, 120.0)),
        ((100, 20, 200), (60.0, 240.0)),
        ((0, 10, 100), (0.0, 60.0)),
    ],
)
def test_how_long_it_takes_lies_between_two_shares(
    wanted: tuple[int, int, int], expected: tuple[float, float]
) -> None:
    assert expected_s(evaluation(100, 10), *wanted) == pytest.approx(expected)


def test_what_was_never_done_takes_nobody_knows_how_long() -> None:
    assert expected_s(evaluation(100), 100, 10, 100) is None
    assert expected_s(evaluation(0, 10), 100, 0, 100) is None
