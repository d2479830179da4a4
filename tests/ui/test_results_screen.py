"""The Results screen: before and after of recorded runs, and answers side by side."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recorded import (
    done_session,
    ending,
    finish,
    make_session,
    on_a_card,
    opening,
    steps,
    write,
)
from tests.ui import fake_chat
from tests.ui.conftest import keys, notice, page, picture, run_of, show, until
from tui_lora.core.events import MemoryMeasured, SpecChanged
from tui_lora.core.spec import parse_spec
from tui_lora.core.status import Status
from tui_lora.store import answer_sheets, checkpoints, memory_table, sessions
from tui_lora.store.adapters import session_target
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_link
from tui_lora.ui.app import TuiLora
from tui_lora.ui.chat_link import link_of
from tui_lora.ui.messages import SessionChosen
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.line import Line, Lines

pytestmark = pytest.mark.screens

HOSTILE = "[/INST] [@click=app.quit]x[/] [bold"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    gates = tmp_path / "gates"
    gates.mkdir()
    monkeypatch.setenv(fake_chat.GATES, str(gates))
    monkeypatch.setattr(chat_link, "start_chat", fake_chat.start_fake_chat)
    return gates


@pytest.fixture
def done(root: Path) -> SessionPaths:
    paths = done_session(root)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 9_820_000)
    return paths


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


def said(app: TuiLora, id: str) -> str:
    widget = page(app).query_one(f"#{id}")
    if isinstance(widget, Line):
        return widget.said.plain
    assert isinstance(widget, Lines)
    return "\n".join(row.plain for row in widget.said)


def answers(app: TuiLora) -> list[str]:
    return [view._text.said.plain for view in page(app).query(AnswerView)]


async def test_no_session_says_which_key_begins(root: Path) -> None:
    app = TuiLora(root, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "No session is chosen" in shown(app)
        assert "1   choose one that was trained" in shown(app)
        assert "answers" not in keys(app)


@pytest.mark.parametrize(
    ("events", "status", "says"),
    [
        (False, Status.DRAFT, "run has not been trained yet"),
        (True, Status.RUNNING, "run is still training: step 250 of 400"),
        (False, Status.FAILED, "run has no results (failed)"),
    ],
)
async def test_what_is_not_finished_says_so(
    root: Path, events: bool, status: Status, says: str
) -> None:
    paths = make_session(root)
    paths.events.touch()
    if events:
        write(paths, opening(400), steps(1, 250, 400))
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths, status))
        assert says in shown(app)
        assert "5   " in shown(app)


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_before_and_after(root: Path, done: SessionPaths, size: tuple[int, int]) -> None:
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        await show(pilot, run_of(done))
        change = said(app, "change")
        assert "perplexity on 40 held-out rows" in change
        base, tuned = change.splitlines()[1:3]
        assert base.split()[:2] == ["base", "23.1"]
        assert tuned.split()[:2] == ["tuned", "3.40"]
        assert "▼ 85.3%" in tuned
        assert "▼ 61.0%" in change
        await until(pilot, lambda: "9.82 MB" in said(app, "facts"))
        assert "train loss" in said(app, "facts")
        assert "took 1 min 41 s" in said(app, "head")
        assert all(len(row) <= size[0] for row in picture(app))


async def test_memory_predicted_and_measured(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUI_LORA_DATA", str(tmp_path / "data"))
    paths = make_session(root)
    changed = SpecChanged(changes={"training.micro_batch": 1, "training.accumulation": 16})
    measured = MemoryMeasured(
        card="Tesla T4",
        total_gib=15.0,
        peak_allocated_gib=12.7,
        peak_reserved_gib=14.5,
        context_gib=0.28,
        context_source="NVML",
    )
    begun = on_a_card(opening(400))
    write(paths, begun, steps(1, 400, 400, card=True), iter([changed, measured]), ending(400))
    finish(paths, 400)
    memory_table.learn_from(paths, steps=400)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths))
        assert "changed since the start: micro-batch 2 → 1, accumulation" in said(app, "head")
        rows = [row.split() for row in said(app, "memory").splitlines()]
        assert rows[1][:5] == ["allocated", "12.60", "12.70", "✓", "-0.8%"]
        assert rows[2][:5] == ["reserved", "13.48", "14.50", "▼", "-7.0%"]
        assert rows[3] == ["context", "0.30", "0.28", "▲", "+7.1%", "0.30", "assumed", "|", "NVML"]
        assert rows[4][:5] == ["process", "13.78", "14.78", "▼", "-6.8%"]
        last = "in the last run on this card predictions were within 6.8%"
        await until(pilot, lambda: last in said(app, "memory"))


async def test_on_the_processor_memory_is_measured_alone(root: Path, done: SessionPaths) -> None:
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        rows = said(app, "memory").splitlines()
        assert rows[1].split()[:4] == ["process", "—", "1.31", "—"]
        assert "on the processor there is no prediction" in rows[2]


async def test_what_is_unknown_is_a_dash(root: Path) -> None:
    paths = make_session(root)
    write(paths, opening(400, resumed_from=0), steps(1, 50, 400))
    finish(paths, 50, "stopped")
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths))
        assert "No rows were held out" in said(app, "change")
        await until(pilot, lambda: "checkpoints" in said(app, "checkpoints"))
        assert said(app, "checkpoints").endswith("—")
        assert said(app, "facts").splitlines()[-1].split() == ["adapter", "—"]
        assert "answers" not in keys(app)


async def test_a_change_for_the_worse_and_a_better_step_are_said(root: Path) -> None:
    from tui_lora.core.events import Evaluated

    def worse():  # type: ignore[no-untyped-def]
        yield Evaluated(step=100, loss=2.0, rows=40, seconds=1.0)
        yield Evaluated(step=200, loss=4.0, rows=40, seconds=1.0)

    paths = make_session(root)
    write(paths, opening(200), steps(1, 99, 200), worse())
    finish(paths, 200)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths))
        assert "▲ 27.4%" in said(app, "change")
        assert "it was lower at step 100 (2.00)" in said(app, "change")


async def test_checkpoints_are_checked(root: Path, done: SessionPaths) -> None:
    for step in (100, 200):
        beside = done.checkpoints / f".{step}"
        beside.mkdir()
        (beside / "weights").write_bytes(b"w" * 2000)
        checkpoints.seal(beside, done.checkpoints / f"step-{step:06d}", step=step, tokens_seen=1)
    (done.checkpoints / "step-000100" / "weights").write_bytes(b"v" * 2000)
    (done.checkpoints / "step-000300").mkdir()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "weights was changed" in said(app, "checkpoints"))
        rows = said(app, "checkpoints").splitlines()
        assert rows[2].split() == ["step", "200", "2.00", "kB", "✓", "whole"]
        assert rows[3] == "  ! step-000300 was never finished"


async def test_answers_stream_are_kept_and_shown_again(
    root: Path, done: SessionPaths, fake: Path
) -> None:
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "a answers" in keys(app))
        await pilot.press("a")
        await until(pilot, lambda: "kept as evaluations/answers-" in notice(app), 20)
        assert len(answers(app)) == 6
        sheet = answer_sheets.newest(done)
        assert sheet is not None
        assert sheet.step == 400
        assert sheet.max_new_tokens == 60
        assert [row.base.text for row in sheet.rows] == [row.question.upper() for row in sheet.rows]
        before = answers(app)
        assert before[1].endswith("), 1")
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: answers(app) == before)
        assert "answers side by side   held out of quickstart by seed 42" in said(app, "asked")
        assert "1.  " not in shown(app)
        # Asked again, they are brought into sight.
        await pilot.press("a")
        await until(pilot, lambda: "answers side by side" in picture(app)[2])
        assert "1.  " in shown(app)


async def test_stopped_answers_are_not_kept(root: Path, done: SessionPaths, fake: Path) -> None:
    (fake / "wait").touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "a answers" in keys(app))
        await pilot.press("a")
        await until(pilot, lambda: "loading the weights" in said(app, "asked"))
        assert shown(app).count("◌ waiting") >= 2
        assert "Esc calls it off" in said(app, "asked")
        link = link_of(app)
        assert link.pipe is not None
        process = link.pipe.process
        await pilot.press("escape")
        assert "not kept" in notice(app)
        # What was loaded for them alone is put away.
        assert link.state.phase == "off"
        assert process.wait(60) == 0
        await pilot.pause()
        assert list(done.evaluations.iterdir()) == []


async def test_answers_come_from_where_the_base_is_already(
    root: Path, done: SessionPaths, fake: Path
) -> None:
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "a answers" in keys(app))
        link = link_of(app)
        link.open(replace(session_target(done), devices="cpu"))
        await until(pilot, lambda: link.state.voices)
        pipe = link.pipe
        await pilot.press("a")
        await until(pilot, lambda: "kept as evaluations/answers-" in notice(app))
        assert len(answers(app)) == 6
        assert link.pipe is pipe


async def test_kept_answers_of_others_are_only_text(root: Path, done: SessionPaths) -> None:
    answer = {"text": f"{HOSTILE}\x1b[31m", "tokens": 3, "seconds": 1.0, "ended_by": "end"}
    row = {"question": HOSTILE, "reference": f"\x9b{HOSTILE}", "base": answer, "tuned": answer}
    sheet = {"t": 1.0, "source": HOSTILE, "model": "m", "max_new_tokens": 60, "rows": [row]}
    (done.evaluations / "answers-1.json").write_text(json.dumps(sheet))
    (done.evaluations / "answers-2.json").write_text("{")
    (done.evaluations / "answers-3.json").write_text(json.dumps({**sheet, "t": "no"}))
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: answers(app) == [f"{HOSTILE}[31m"] * 2)
        await until(pilot, lambda: f"reference  {HOSTILE}" in shown(app))
        assert "\x1b" not in shown(app)


async def test_another_session_takes_everything_away(root: Path, done: SessionPaths) -> None:
    other = make_session(root, "other")
    other.events.touch()
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await pilot.press("1")
        app.post_message(SessionChosen(other, go="results"))
        await show(pilot, run_of(other))
        await until(pilot, lambda: "other has not been trained yet" in shown(app))
        app.post_message(SessionChosen(done))
        await show(pilot, run_of(done))
        await until(pilot, lambda: "perplexity" in shown(app))


async def test_a_dataset_that_is_not_read_here_has_nothing_to_ask(
    root: Path, done: SessionPaths, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    rows.write_bytes(b"PAR1")
    text = done.spec.read_text().replace("eval_path: null", f"eval_path: {rows}")
    done.spec.write_text(text)
    app = TuiLora(root, session=done, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(done))
        await until(pilot, lambda: "a answers" in keys(app))
        await pilot.press("a")
        await until(pilot, lambda: "! nothing to ask:" in notice(app))


@pytest.mark.model
async def test_the_real_worker_answers_side_by_side(
    root: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    spec = parse_spec({"model": {"id": str(tiny_model)}, "dataset": {"path": "quickstart"}})
    paths = sessions.create(root, "tiny", spec)
    write(paths, opening(40), steps(1, 40, 40, every=20))
    finish(paths, 40)
    shutil.copytree(tiny_adapter, paths.adapter)
    app = TuiLora(root, session=paths, start="results", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await show(pilot, run_of(paths))
        await until(pilot, lambda: "a answers" in keys(app))
        await pilot.press("a")
        await until(pilot, lambda: "kept as evaluations/answers-" in notice(app), 60)
        process = page(app).link.pipe.process  # type: ignore[attr-defined]
    assert process.wait(60) == 0
    sheet = answer_sheets.newest(paths)
    assert sheet is not None
    assert all(row.base.tokens and row.base.text != row.tuned.text for row in sheet.rows)
