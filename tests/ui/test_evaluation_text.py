"""What an evaluation found, in rows of any width."""

from __future__ import annotations

import pytest

from tests.core.test_evaluated_rows import evaluation
from tui_lora.core.evaluation import Evaluation, Figure, Loss, MetricReport
from tui_lora.ui.evaluation_text import evaluation_rows

WIDTHS = [76, 96, 116]


def shown(found: Evaluation, width: int) -> str:
    rows = evaluation_rows(found, "1 of 2", width)
    assert all(row.cell_length <= width for row in rows)
    return "\n".join(row.plain for row in rows)


def with_part(**more: object) -> Evaluation:
    found = evaluation()
    return found.model_copy(update={"parts": (found.parts[0].model_copy(update=more),)})


def metric(**more: object) -> MetricReport:
    told = {"name": "em", "label": "exact match", "why": "as you said", "kind": "right"}
    figures = {side: Figure(value=0.5) for side in ("base", "tuned")}
    change = Figure(value=0.0, low=-0.1, high=0.1)
    return MetricReport.model_validate({**told, "rows": 86, **figures, "change": change, **more})


@pytest.mark.parametrize("width", WIDTHS)
def test_what_was_not_measured_is_told_however_long_the_verdict(width: int) -> None:
    nothing = Figure(value=0.0, low=-0.5, high=0.5)
    text = shown(
        with_part(
            rows=50,
            of=57,
            tokens=750,
            cut_tokens=250,
            cut_rows=9,
            left_out=7,
            why_left_out="the template refuses it",
            change=nothing,
        ),
        width,
    )
    assert "no difference that this many rows could show" in text
    assert "25.0% of the trained tokens were cut" in text
    assert "7 left out" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_what_could_not_be_scored_is_told_with_a_reason(width: int) -> None:
    test = {"test": "exact McNemar test", "p": 0.4, "only_base": 10, "only_tuned": 12}
    found = evaluation().model_copy(
        update={"metrics": (metric(failed=14, failures=("b.jsonl:3: no number",), **test),)}
    )
    text = shown(found, width)
    assert "! 14 could not be scored: b.jsonl:3: no number" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_answers_that_were_cut_or_left_out_are_told(width: int) -> None:
    asked = evaluation(answers=12).answers
    assert asked is not None
    more = {"cut_base": 12, "cut_tuned": 3, "left_out": 2, "why_left_out": "too long"}
    more["source"] = "held out of /a/folder/of/rows.jsonl"
    found = evaluation().model_copy(update={"answers": asked.model_copy(update=more)})
    assert "! cut there: base 12, tuned 3; 2 left out: too long" in shown(found, width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [
        (0.0447, 0.0421, 0.0473, "0.0421 to 0.0473"),
        (-0.0198, -0.0261, -0.0135, "-0.0261 to -0.0135"),
        (12_345.0, 11_234.0, 13_456.0, "11,234 to 13,456"),
    ],
)
def test_an_interval_is_whole_and_so_is_the_change(
    value: float, low: float, high: float, told: str, width: int
) -> None:
    figure = Figure(value=value, low=low, high=high)
    loss = Loss(perplexity=figure)
    text = shown(with_part(base=loss, tuned=loss, change=Figure(value=-0.131, low=-0.2)), width)
    assert text.count(told) == 2
    assert "▼ 12.3%" in text
    found = evaluation().model_copy(
        update={"metrics": (metric(base=figure, tuned=figure, kind="score"),)}
    )
    assert shown(found, width).count(told) == 2
