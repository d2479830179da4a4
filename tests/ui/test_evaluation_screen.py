"""Evaluations on the Results screen: begun, followed, cancelled, gone on with, read row by row."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.recorded import done_session, finish, make_session, opening, steps, write
from tests.ui import fake_evaluate
from tests.ui.conftest import keys, notice, page, picture, run_of, show, until
from tests.ui.test_results_screen import said
from tui_lora.core.chat_fit import ChatFit
from tui_lora.core.evaluate import Evaluate
from tui_lora.core.evaluation import PARTS, Part
from tui_lora.core.spec import parse_spec
from tui_lora.core.status import Status
from tui_lora.store import checkpoints, evaluations, launch, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import left_words
from tui_lora.ui.app import TuiLora
from tui_lora.ui.chat_holds import before_a_run
from tui_lora.ui.evaluate_link import Evaluating, evaluate_link_of
from tui_lora.ui.evaluating import EvaluatingPage
from tui_lora.ui.screens.evaluate import EvaluateForm
from tui_lora.ui.screens.evaluated_row import EvaluatedRowScreen
from tui_lora.ui.screens.evaluated_rows import EvaluatedRowsScreen
from tui_lora.ui.screens.evaluations import EvaluationsBeside
from tui_lora.ui.screens.question import Question
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens

HOSTILE = fake_evaluate.HOSTILE


@pytest.fixture
def gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "gates"
    folder.mkdir()
    monkeypatch.setenv(fake_evaluate.GATES, str(folder))
    monkeypatch.setattr(launch, "start_pipe_worker", fake_evaluate.start_fake_evaluate)
    return folder


@pytest.fixture
def done(root: Path) -> SessionPaths:
    return with_adapter(done_session(root))


def with_adapter(paths: SessionPaths) -> SessionPaths:
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    return paths


def with_checkpoint(paths: SessionPaths, step: int) -> None:
    beside = paths.checkpoints / f".{step}"
    beside.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/tiny"}
    (beside / "adapter_config.json").write_text(json.dumps(config))
    (beside / "adapter_model.safetensors").write_bytes(b"w" * 100)
    checkpoints.seal(beside, paths.checkpoints / f"step-{step:06d}", step=step, tokens_seen=1)


def kept(
    paths: SessionPaths,
    t: float,
    *,
    step: int | None = None,
    gain: float = 0.0,
    test_file: str = "",
    parts: tuple[Part, ...] = PARTS,
) -> None:
    """An evaluation on disk; `gain` takes as much off every loss."""
    asked = Evaluate(session=str(paths.folder), adapter=str(paths.adapter), step=step, parts=parts)
    found, rows = fake_evaluate.evaluation(asked)
    found = found.model_copy(update={"test_file": test_file})
    changed = [
        row.model_copy(update={"tuned": row.tuned - 10 * gain}) if hasattr(row, "begin") else row
        for row in rows
    ]
    partial = evaluations.open_partial(paths, "key", {}, t, anew=True)
    partial.close()
    evaluations.keep(paths, partial, found.model_copy(update={"t": t}), changed)  # type: ignore[arg-type]


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


async def opened(pilot, app: TuiLora) -> None:  # type: ignore[no-untyped-def]
    await until(pilot, lambda: "v evaluate" in keys(app))
    await pilot.press("v")
    await until(pilot, lambda: isinstance(app.screen, EvaluateForm))
    await until(pilot, lambda: "looking for room" not in shown(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_it_is_begun_followed_and_shown(
    root: Path, done: SessionPaths, gates: Path, size: tuple[int, int]
) -> None:
    (gates / "wait").touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(done))
        await opened(pilot, app)
        await until(pilot, lambda: "ROUGE-L: half of the answers" in shown(app))
        assert "266 losses, 40 answers" in shown(app)
        assert "takes —" in shown(app)
        assert "Enter begins" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "so far 9.40 → 5.80" in said(app, "evaluating"))
        assert "held-out rows 4 of 8" in said(app, "evaluating")
        assert "2.00 rows/s   2.0 s left" in said(app, "evaluating")
        assert "v evaluate" not in keys(app)
        # It goes on under another screen.
        await pilot.press("1")
        (gates / "wait").unlink()
        await until(pilot, lambda: "done is measured" in notice(app))
        await pilot.press("7")
        await until(pilot, lambda: "evaluation of" in said(app, "evaluation"))
        rows = said(app, "evaluation").splitlines()
        held_out = next(row for row in rows if "held-out rows" in row)
        told = " ".join(held_out.split()[2:])
        assert told.startswith("9.50 9.00 to 10.0 9.50 9.00 to 10.0")
        # Where there is no room beside it the change stands below.
        below = rows[rows.index(held_out) + 1]
        assert "▼ 39.3%" in (held_out if size[0] > 100 else below)
        assert told.endswith("-45.1 to -33.0") == (size[0] > 100)
        assert any("8 of 40 rows" in row for row in rows)
        assert "    ! 3.6% of the trained tokens were cut" in rows
        assert any("better, p 0.008, exact McNemar" in row for row in rows)
        assert "measured by the run itself" in said(app, "source")
        assert said(app, "evaluating") == ""
        assert all(len(row) <= size[0] for row in picture(app))
    assert evaluations.newest(done) is not None


async def test_cancelled_it_is_kept_and_gone_on_with(
    root: Path, done: SessionPaths, gates: Path
) -> None:
    (gates / "wait").touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await opened(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: "4 of 8" in said(app, "evaluating"))
        await pilot.press("escape")
        await until(pilot, lambda: "cancelled; v goes on" in notice(app))
        await until(pilot, lambda: "did not end: 1 row done" in said(app, "evaluation"))
        # What it had found until then.
        assert "a sample of all" in said(app, "evaluation")
        assert "4 of 40 rows" in said(app, "evaluation")
        assert "b by row" not in keys(app)
        assert evaluations.newest(done) is None
        assert len(evaluations.partials(done)) == 1
        (gates / "wait").unlink()
        await opened(pilot, app)
        assert "goes on" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "8 of 40 rows" in said(app, "evaluation"))
        assert "a sample of all" not in said(app, "evaluation")
        assert "b by row" in keys(app)
    assert evaluations.partials(done) == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_one_that_did_not_end_is_dropped_by_a_key(
    root: Path, done: SessionPaths, gates: Path, size: tuple[int, int]
) -> None:
    (gates / "wait").touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "v evaluate" in keys(app))
        assert "x drop" not in keys(app)
        await opened(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: "4 of 8" in said(app, "evaluating"))
        await pilot.press("escape")
        await until(pilot, lambda: "x drops it" in shown(app))
        for answer, left in (("n", 1), ("y", 0)):
            await pilot.press("x")
            await until(pilot, lambda: isinstance(app.screen, Question))
            await until(pilot, lambda: "1 row done" in shown(app))
            await pilot.press(answer)
            await until(pilot, lambda n=left: len(evaluations.partials(done)) == n)
        await until(pilot, lambda: "did not end" not in said(app, "evaluation"))
        # Nor does what it had found look like a result, and the form begins with what is usual.
        assert "a sample of all" not in said(app, "evaluation")
        await opened(pilot, app)
        assert "did not end" not in shown(app)


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("fail", "memory ran out. Free some."),
        ("die", "the evaluate worker ended (exit code 9): killed What was measured is kept"),
        ("die-early", "the evaluate worker ended (exit code 9): killed"),
    ],
)
async def test_a_worker_that_fails_is_said(
    root: Path, done: SessionPaths, gates: Path, gate: str, says: str
) -> None:
    (gates / gate).touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(160, 40)) as pilot:
        await show(pilot, run_of(done))
        await opened(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: says in notice(app))
        assert ("is kept" in notice(app)) == (gate == "die")
        await until(pilot, lambda: "v evaluate" in keys(app))


async def test_leaving_ends_it_and_says_how_to_go_on(
    root: Path, done: SessionPaths, gates: Path
) -> None:
    (gates / "wait").touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        await opened(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: "4 of 8" in said(app, "evaluating"))
        pipe = evaluate_link_of(app).pipe
        assert pipe is not None
    assert await asyncio.to_thread(pipe.process.wait, 5) is not None
    assert "tui-lora eval done" in left_words.words_of(app)[0]


async def test_what_cannot_be_measured_is_refused_in_the_form(
    root: Path, done: SessionPaths, gates: Path
) -> None:
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await opened(pilot, app)
        await pilot.press("down", "down", *"bleu")
        assert "there is no metric bleu" in shown(app)
        await pilot.press("enter")
        assert isinstance(app.screen, EvaluateForm)
        for _ in "bleu":
            await pilot.press("backspace")
        await pilot.press(*"nowhere.py:judge", "enter")
        await until(pilot, lambda: "there is no such file" in shown(app))
        for _ in "nowhere.py:judge":
            await pilot.press("backspace")
        await pilot.press("down", "down", "down", *"nowhere.jsonl", "enter")
        await until(pilot, lambda: "there is no dataset" in shown(app))
        await pilot.press("escape")
        assert not evaluate_link_of(app).now.alive


async def test_nothing_to_measure_says_so(root: Path, gates: Path) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 50, 400))
    finish(paths, 50, "stopped")
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths))
        await until(pilot, lambda: "no adapter to be measured" in said(app, "evaluation"))
        assert "evaluate" not in keys(app)


async def test_a_checkpoint_is_measured_while_the_run_goes_on(root: Path, gates: Path) -> None:
    paths = make_session(root)
    write(paths, opening(400), steps(1, 250, 400))
    with_checkpoint(paths, 200)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths, Status.RUNNING))
        await until(pilot, lambda: "v   measure what it has by now" in shown(app))
        await opened(pilot, app)
        assert "checkpoint at step 200" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "checkpoint at step 200" in said(app, "evaluation"))
        assert not page(app).query_one("#figures").display


@pytest.mark.parametrize("task", ["classification", "dpo"])
async def test_other_tasks_are_asked_what_suits_them(root: Path, gates: Path, task: str) -> None:
    paths = with_adapter(make_session(root, task=task))
    write(paths, opening(400, task=task), steps(1, 400, 400, task=task))
    finish(paths, 400)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths))
        await opened(pilot, app)
        form = shown(app)
        if task == "classification":
            assert "answers by" not in form
            assert "‹ held-out, trained ›" in form
        else:
            await until(pilot, lambda: "of preferences: the task is dpo" in shown(app))


async def test_rows_are_sorted_filtered_and_read_whole(root: Path, done: SessionPaths) -> None:
    kept(done, 1_760_000_000.0)
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "b by row" in keys(app))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, EvaluatedRowsScreen))
        table = app.screen.query_one(Table)
        await until(pilot, lambda: len(table.rows) == fake_evaluate.ROWS)
        changes = [row.cells[0].plain for row in table.rows]
        assert (changes[0], changes[-1]) == ("▼ 0.550", "▲ 0.150")
        await pilot.press("o")
        assert [row.cells[0].plain for row in table.rows] == changes[::-1]
        await pilot.press("right", "right", "right", "f")
        assert {row.cells[3].plain for row in table.rows} == {"✗ → ✓"}
        assert "wrong → right" in shown(app)
        await pilot.press("f")
        assert "No row is like that" in shown(app)
        await pilot.press("escape", "enter")
        await until(pilot, lambda: isinstance(app.screen, EvaluatedRowScreen))
        row = shown(app)
        assert HOSTILE in row
        assert "reference  4" in row
        assert "✗ exact_match" in row
        assert "✓ exact_match" in row
        await pilot.press("right", "right", "escape")
        await until(pilot, lambda: isinstance(app.screen, EvaluatedRowsScreen))
        assert table.cursor == 2
        assert all(len(row) <= 80 for row in picture(app))


async def test_what_was_trained_on_since_is_no_figure_of_the_adapter(
    root: Path, done: SessionPaths
) -> None:
    (done.adapter / "adapter_config.json").write_text("{}")
    kept(done, 1_760_000_000.0)
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "the adapter, step 400" in said(app, "evaluation"))
        assert "trained on since" not in said(app, "evaluation")
        # It is resumed and ends again while this is looked at.
        await show(pilot, run_of(done, Status.RUNNING))
        (done.adapter / "adapter_model.safetensors").write_bytes(b"y" * 1000)
        await show(pilot, run_of(done))
        await until(pilot, lambda: "an earlier adapter, step 400" in said(app, "evaluation"))
        assert "! trained on since" in said(app, "evaluation")
        await pilot.press("e")
        await until(pilot, lambda: "earlier adapter, step 400" in shown(app))
        assert "held-out 9.50 → 9.50" in shown(app)
        assert all(len(row) <= 80 for row in picture(app))


async def test_rows_of_a_file_and_trained_ones_are_called_so(
    root: Path, done: SessionPaths
) -> None:
    kept(done, 1_760_000_000.0, test_file="/data/test.jsonl")
    kept(done, 1_760_000_600.0, parts=("train",))
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "e past ones" in keys(app))
        await pilot.press("e")
        await until(pilot, lambda: "given 9.50 → 9.50" in shown(app))
        assert "trained 9.50 → 9.50" in shown(app)
        assert "held-out" not in shown(app)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "given rows" in said(app, "evaluation"))
        assert "held-out rows" not in said(app, "evaluation")


async def test_two_checkpoints_are_compared(root: Path, done: SessionPaths) -> None:
    kept(done, 1_760_000_000.0, step=100)
    kept(done, 1_760_000_600.0, step=200, gain=0.2)
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "e past ones" in keys(app))
        assert "step 200" in said(app, "evaluation")
        assert "1 of 2" in said(app, "evaluation")
        await pilot.press("e")
        await until(pilot, lambda: "m mark" in keys(app) or "m mark" in shown(app))
        await pilot.press("down", "m", "up", "c")
        await until(pilot, lambda: isinstance(app.screen, EvaluationsBeside))
        table = app.screen.query_one(Table)
        await until(pilot, lambda: table.rows)
        verdicts = {row.key: row.cells[-1].plain for row in table.rows}
        assert verdicts["eval"] == "better, p 0.008"
        assert verdicts["exact_match"] == "not shown to differ, p 1.000"
        assert "8 are better to the right one, 0 are worse" in shown(app)
        await pilot.press("x")
        await until(pilot, lambda: table.rows[0].cells[-1].plain == "worse, p 0.008")
        # Another is chosen to be shown.
        await pilot.press("escape", "down", "enter")
        await until(pilot, lambda: "step 100" in said(app, "evaluation"))


async def test_a_training_that_starts_asks_what_becomes_of_it(
    root: Path, done: SessionPaths, gates: Path
) -> None:
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        link, begun = evaluate_link_of(app), []
        before_a_run(page(app), lambda: begun.append(1))
        assert begun == [1]
        link.now = Evaluating("preparing", done, fit=ChatFit("card", None, None, None))
        before_a_run(page(app), lambda: begun.append(2))
        await until(pilot, lambda: "End it, and start?" in shown(app))
        assert begun == [1]
        await pilot.press("y")
        assert begun == [1, 2]
        assert not link.now.alive


@pytest.mark.model
async def test_the_real_worker_measures(root: Path, tiny_model: Path, tiny_adapter: Path) -> None:
    spec = parse_spec({"model": {"id": str(tiny_model)}, "dataset": {"path": "quickstart"}})
    paths = sessions.create(root, "tiny", spec)
    write(paths, opening(40), steps(1, 40, 40, every=20))
    finish(paths, 40)
    shutil.copytree(tiny_adapter, paths.adapter)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths))
        await opened(pilot, app)
        assert "✓ there is room" in shown(app)
        await pilot.press("down", "down", "down", *"3", "down", *["backspace"] * 3, *"8", "enter")
        await until(pilot, lambda: "evaluation of" in said(app, "evaluation"), 90)
        assert "3 of " in said(app, "evaluation")
        assert "16 passages" in said(app, "evaluation")
        evaluating = page(app)
        assert isinstance(evaluating, EvaluatingPage)
        assert evaluating.evaluation is not None
        assert evaluating.evaluation.evaluation.complete
