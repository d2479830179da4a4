"""Metrics against what their authors publish."""

from __future__ import annotations

from itertools import product

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.task_metrics import (
    exact_match,
    f1,
    final_number,
    gsm8k,
    longest_common,
    metric_of,
    normalized,
    rouge_l,
    suited,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 72", 72),
        ("#### 1,234", 1234),
        ("#### -5", -5),
        ("#### $18.50 a day", 18.5),
        # As the authors' extract_answer: the first. A model that runs on asks itself the next.
        ("First #### 3, no: #### 4", 3),
        ("#### 72\nQuestion: how many are left?\n#### 10", 72),
        ("#### Step 1\n6 x 12\n#### 72", 72),
        ("#### **42**\nThen 7 more", 42),
        ("####\n42\n\nQ: 9 dogs", 42),
        ("**#### $18**, and 3 left over", 18),
        ("#### **-1,234.5** of 7", -1234.5),
        ("#### $\\$ 18$ of 7", 18),
        ("It takes 10-15 days.", 15),
        ("It is -15 degrees.", -15),
        ("The answer is 12 apples and 7 pears.", 7),
        ("It costs $1,000.", 1000),
        ("#### unknown, perhaps 5", 5),
        ("none", None),
        ("", None),
    ],
)
def test_the_final_number(text: str, number: float | None) -> None:
    found = final_number(text)
    assert (None if found is None else float(found)) == number


def test_gsm8k_compares_numbers() -> None:
    assert gsm8k("so it is 18.00", "so\n#### 18") == 1
    assert gsm8k("so it is 180", "so\n#### 18") == 0
    assert gsm8k("no idea", "so\n#### 18") == 0
    assert gsm8k("no idea", "no number") == 0


def test_squads_normalisation() -> None:
    # From evaluate-v1.1.py: lower case, punctuation, articles and spaces.
    assert normalized("The  Eiffel Tower, an 'old' a-frame!") == "eiffel tower old aframe"
    assert exact_match("the Denver Broncos.", "Denver Broncos") == 1
    assert exact_match("Denver", "Denver Broncos") == 0


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("Denver Broncos", "the Denver Broncos", 1.0),
        ("Denver", "Denver Broncos", 2 / 3),
        ("b b", "b", 2 / 3),
        ("red", "blue", 0.0),
        ("the", "", 1.0),
        ("", "blue", 0.0),
    ],
)
def test_squads_f1(answer: str, reference: str, score: float) -> None:
    assert f1(answer, reference) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        # rouge-score's README and rouge_scorer_test.py.
        (
            "The quick brown dog jumps on the log.",
            "The quick brown fox jumps over the lazy dog",
            2 * 5 / 17,
        ),
        ("testing two", "testing one two", 0.8),
        ("testing", "testing one two", 0.5),
        # Lin 2004, section 3.1: "the gunman kill police" misses one word in order.
        ("police kill the gunman", "police killed the gunman", 0.75),
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("grüße aus köln", "Grüße aus Köln", 1.0),
        ("", "one", 0.0),
    ],
)
def test_rouge_l(answer: str, reference: str, score: float) -> None:
    assert rouge_l(answer, reference) == pytest.approx(score)


def test_the_bit_vectors_find_what_the_table_finds() -> None:
    def table(left: tuple[str, ...], right: tuple[str, ...]) -> int:
        rows = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
        for i, a in enumerate(left):
            for j, b in enumerate(right):
                same = rows[i][j] + 1
                rows[i + 1][j + 1] = same if a == b else max(rows[i][j + 1], rows[i + 1][j])
        return rows[-1][-1]

    for left in product("ab", repeat=4):
        for right in product("abc", repeat=3):
            assert longest_common(left, right) == table(left, right)


@pytest.mark.parametrize(
    ("name", "answer", "score"),
    [
        ("json", ' {"a": 1} ', 1),
        ("json", "```json\n{}\n```", 0),
        ("json", "NaN", 0),
        ("json", "[" * 100_000, 0),
        ("json:a, b", '{"a": 1, "b": null}', 1),
        ("json:a,b", '{"a": 1}', 0),
        ("json:a", '["a"]', 0),
        (r"regex:^\d+$", "12", 1),
        (r"regex:^\d+$", "12 apples", 0),
        ("regex:a:b", "xa:by", 1),
    ],
)
def test_forms(name: str, answer: str, score: int) -> None:
    metric = metric_of(name)
    assert metric.score is not None
    assert metric.kind == "right"
    assert metric.score(answer, "") == score


def test_own_code_is_named_as_such() -> None:
    metric = metric_of("my/own:code.py:judge")
    assert metric.own == ("my/own:code.py", "judge")
    assert "your own code" in metric.label


@pytest.mark.parametrize("name", ["bleu", "json:", "regex:", "regex:(", "f.py:", "f.py:a b", ""])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(UserError) as refused:
        metric_of(name)
    assert refused.value.where == "--metric"


@pytest.mark.parametrize(
    ("references", "format", "metrics"),
    [
        (["a\n#### 1", "b\n#### 2"], "messages", ("gsm8k",)),
        (["no number"], "gsm8k", ("gsm8k",)),
        (['{"a": 1}', "[2]"], "pairs", ("json", "exact_match")),
        (["Paris", "in the year 1900"], "pairs", ("exact_match", "f1")),
        (["a long answer " * 10], "alpaca", ("rouge_l",)),
        (["", " "], "alpaca", ()),
    ],
)
def test_metrics_are_chosen_by_the_rows(
    references: list[str], format: str, metrics: tuple[str, ...]
) -> None:
    names, why = suited(references, format)
    assert names == metrics
    assert why
