"""What Train, Results and Sessions show of runs that are no instruction tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import (
    START,
    done_classifier,
    done_session,
    make_session,
    opening,
    steps,
    write,
)
from tests.ui.conftest import keys, page, picture, run_of, show, until
from tui_lora.core.class_report import ClassReport
from tui_lora.core.status import Status
from tui_lora.headless.follow import follow
from tui_lora.store.sessions import summarize
from tui_lora.ui.app import TuiLora
from tui_lora.ui.confusion import confusion_rows
from tui_lora.ui.messages import SessionsListed
from tui_lora.ui.widgets.line import Block, Line, Lines
from tui_lora.ui.widgets.loss_plot import LossPlot

pytestmark = pytest.mark.screens

SIZES = [(80, 24), (120, 40)]
PREFERENCES = ("dpo", "kto")


def said(app: TuiLora, id: str) -> str:
    widget = page(app).query_one(f"#{id}")
    if isinstance(widget, Line):
        return widget.said.plain
    assert isinstance(widget, (Lines, Block))
    return "\n".join(row.plain for row in widget.said)


def figures(app: TuiLora) -> str:
    return said(app, "numbers" if app.size.width >= 110 else "short")


def can(app: TuiLora, action: str) -> bool:
    """Whether a key does it now; a narrow line of keys names the first alone."""
    return bool(page(app).check_action(action, ()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", PREFERENCES)
async def test_the_margin_stands_among_figures_and_curves(
    root: Path, task: str, size: tuple[int, int]
) -> None:
    paths = make_session(root, "run", task)
    write(paths, opening(400, task=task), steps(1, 250, 400, task=task))
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(paths, Status.RUNNING))
        assert "margin" in figures(app)
        assert "perplexity" not in figures(app)
        legend = page(app).query_one("#legend", Line)
        await until(pilot, lambda: legend.said.plain.startswith("loss   ─ train"))
        await until(pilot, lambda: can(app, "curve"))
        drawn = []
        for _ in range(5):
            await pilot.press("m")
            await pilot.pause()
            drawn.append(legend.said.plain)
        assert drawn[0] == "margin   ─ train   ◆ held-out   by step"
        assert drawn[1] == "rewards   ─ chosen   • rejected   by step"
        assert drawn[2].startswith("preferred" if task == "dpo" else "KL")
        assert drawn[3].startswith("loss")
        assert drawn[4] == drawn[0]
        await until(pilot, lambda: not can(app, "log_scale"))
        assert all(len(row) <= size[0] for row in picture(app))


@pytest.mark.parametrize("size", SIZES)
async def test_accuracy_has_a_curve_of_the_held_out_rows(root: Path, size: tuple[int, int]) -> None:
    paths = done_session(root, task="classification")
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(paths))
        assert "held-out accuracy 30.0% → 93.8%" in said(app, "verdict")
        assert "accuracy" in figures(app)
        assert "macro F1" in figures(app)
        await until(pilot, lambda: page(app).query_one(LossPlot)._drawn is not None)
        await pilot.press("m")
        await until(pilot, lambda: said(app, "legend") == "accuracy   ◆ held-out   by step")


async def test_an_answering_run_has_one_curve(root: Path) -> None:
    paths = done_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths))
        await until(pilot, lambda: can(app, "log_scale"))
        assert not can(app, "curve")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", PREFERENCES)
async def test_results_of_preferences_are_margins(
    root: Path, task: str, size: tuple[int, int]
) -> None:
    paths = done_session(root, task=task)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(paths))
        change = said(app, "change")
        assert "margin on 40 held-out rows" in change
        assert "▲ 1.22" in change
        assert "rejected reward  0 → -0.817" in change
        assert "perplexity" not in change
        assert f"as {task} defines it" in change
        assert ("preferred on" in change) is (task == "dpo")
        assert said(app, "confusion") == ""


@pytest.mark.parametrize("size", SIZES)
async def test_results_of_a_classifier(root: Path, size: tuple[int, int]) -> None:
    paths = done_classifier(root)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(paths))
        change = said(app, "change")
        assert "▲ 63.7 points" in change
        assert "macro F1 on 40 held-out rows" in change
        await until(pilot, lambda: "neutral" in said(app, "confusion"))
        rows = said(app, "confusion").splitlines()
        assert rows[0] == "taken for which label   40 held-out rows at step 400"
        assert rows[2].split() == ["negative", "12", "1", "·", "92%"]
        assert rows[4].split() == ["positive", "·", "·", "12", "100%"]
        # There is nothing that it could answer.
        assert "answers" not in keys(app)
        assert not page(app).query_one("#asked").display


def report(labels: tuple[str, ...], confusion: list[list[int]]) -> ClassReport:
    return ClassReport(
        t=START,
        step=9,
        labels=labels,
        confusion=tuple(map(tuple, confusion)),
        rows=sum(map(sum, confusion)),
        accuracy=0.5,
        macro_f1=0.5,
    )


def diagonal(count: int, value: int) -> list[list[int]]:
    return [[value if row == column else 0 for column in range(count)] for row in range(count)]


@pytest.mark.parametrize("width", [56, 76, 116, 196])
@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("rows", [7, 123_456])
def test_a_confusion_table_fits(width: int, count: int, rows: int) -> None:
    labels = tuple(f"[/b] a label of many words, number {at}" for at in range(count))
    shown = confusion_rows(report(labels, diagonal(count, rows)), width)
    assert all(row.cell_length <= width for row in shown)
    if len(shown) > 2:
        assert len(shown) == 2 + count
        assert f"{rows:,}" in shown[2].plain
        assert len({row.cell_length for row in shown[1:]}) == 1
    else:
        # So narrow that only what is wrong has room.
        assert count == 10


def test_of_many_labels_the_most_confused_pairs_are_listed() -> None:
    labels = tuple(f"label-{at}" for at in range(40))
    confusion = diagonal(40, 20)
    assert "no row was taken" in confusion_rows(report(labels, confusion), 76)[1].plain
    confusion[3][5] = 9
    confusion[7][1] = 12
    for at in range(20):
        confusion[30][at] = 1
    rows = [row.plain for row in confusion_rows(report(labels, confusion), 76)]
    assert rows[2].split() == ["label-7", "→", "label-1", "12", "of", "32"]
    assert rows[3].split() == ["label-3", "→", "label-5", "9", "of", "29"]
    assert rows[-1] == "  and 10 more pairs (10 rows)"


def test_a_report_with_no_labels_shows_nothing_wrong() -> None:
    assert len(confusion_rows(report((), []), 76)) == 2


async def test_sessions_name_the_task_and_its_measure(root: Path) -> None:
    paths = done_session(root, task="dpo")
    app = TuiLora(root, start="sessions", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(SessionsListed((summarize(paths),)))
        await until(pilot, lambda: "task dpo   margin 0 → 1.22" in said(app, "detail"))
        app.post_message(SessionsListed((summarize(done_session(root, "plain")),)))
        await until(pilot, lambda: "quickstart" in said(app, "detail"))
        await until(pilot, lambda: "task" not in said(app, "detail"))


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("dpo", "margin   1.22   preferred  90.0%"),
        ("classification", "accuracy  93.8%"),
        ("sft", ""),
    ],
)
def test_progress_lines_name_the_metrics(root: Path, task: str, says: str) -> None:
    paths = done_session(root, task=task)
    lines: list[str] = []
    follow(paths, lines.append)
    last = next(line for line in reversed(lines) if line.startswith("step "))
    assert says in last
    assert (", margin" in "".join(lines)) is (task == "dpo")
