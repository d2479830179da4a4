"""The list of a session's checkpoints, and the branch that is made from one."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.recorded import done_session, write
from tests.ui.conftest import picture, run_of, show, until
from tui_lora.core.events import CheckpointSaved, Evaluated
from tui_lora.core.status import Status
from tui_lora.store import checkpoints, runs, sessions
from tui_lora.store.parent import read_parent
from tui_lora.store.paths import SessionPaths
from tui_lora.store.pins import pin, pinned
from tui_lora.ui.app import TuiLora
from tui_lora.ui.screens.branch import BranchForm
from tui_lora.ui.screens.checkpoints import CheckpointList

pytestmark = pytest.mark.screens


@pytest.fixture
def done(root: Path) -> SessionPaths:
    """Checkpoints of steps 100, 200 and 300, the last of which lost a byte; it can be resumed."""
    paths = done_session(root)
    paths.result.unlink()
    for step in (100, 200, 300):
        beside = paths.checkpoints / ".saving"
        beside.mkdir(parents=True, exist_ok=True)
        for name in checkpoints.NEEDED:
            (beside / name).write_text(f"{step}")
        (beside / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
        final = paths.checkpoints / checkpoints.folder_name(step)
        checkpoints.seal(beside, final, step=step, tokens_seen=step * 1000)
    (paths.checkpoints / "step-000300" / "optimizer.pt").write_text("30")
    return paths


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


def line_of(app: TuiLora, step: int) -> str:
    return next(row for row in picture(app) if row.split()[:1] == [str(step)])


async def opened(pilot: Pilot[None], app: TuiLora, paths: SessionPaths, status: Status) -> None:
    await show(pilot, run_of(paths, status))
    await pilot.press("k")
    await until(pilot, lambda: isinstance(app.screen, CheckpointList))
    await until(pilot, lambda: "checking" not in shown(app) and "whole" in shown(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_each_is_shown_pinned_and_deleted(
    root: Path, done: SessionPaths, size: tuple[int, int]
) -> None:
    pin(done, 100)
    app = TuiLora(root, session=done, start="train", live=False)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app, done, Status.STOPPED)
        assert "✗ damaged" in line_of(app, 300)
        assert "✓ whole" in line_of(app, 200)
        assert "◆ pinned" in line_of(app, 100)
        # That of step 300 did better, and is damaged.
        assert "★ best" in line_of(app, 200)
        assert shown(app).count("★ best") == 1
        assert "optimizer.pt has 2 of 3 bytes" in shown(app)
        assert all(len(row) <= size[0] for row in picture(app))

        await pilot.press("down", "p")
        await until(pilot, lambda: "◆ pinned" in line_of(app, 200))
        assert pinned(done) == {100, 200}
        await pilot.press("p")
        await until(pilot, lambda: "pinned" not in line_of(app, 200))

        await pilot.press("x")
        await until(pilot, lambda: "Delete the checkpoint of step 200?" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: "200 is deleted" in shown(app))
        assert [one.step for one in checkpoints.checkpoints(done.checkpoints)] == [100, 300]

        # The only whole one that is left.
        await pilot.press("end", "x", "y")
        await until(pilot, lambda: "the last whole one" in shown(app))
        assert (done.checkpoints / "step-000100").is_dir()


async def test_a_branch_says_how_it_begins_before_it_is_made(
    root: Path, done: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(runs, "resume", lambda paths, **_: started.append(paths.name))
    monkeypatch.setattr("tui_lora.store.branch.preflight", lambda *_, **__: ())
    app = TuiLora(root, session=done, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, done, Status.STOPPED)
        await pilot.press("b")
        await pilot.pause()
        assert "it is damaged: optimizer.pt has 2 of 3 bytes" in shown(app)
        await pilot.press("down", "b")
        await until(pilot, lambda: isinstance(app.screen, BranchForm))
        await until(pilot, lambda: "It goes on exactly from step 200" in shown(app))
        form = app.screen
        assert isinstance(form, BranchForm)
        form._draft = form._draft.changed({"training.learning_rate": 1e-5})
        form._show()
        await until(pilot, lambda: "It begins a new run at step 0 from the adapter" in shown(app))
        form._draft = form._draft.changed({"lora.r": 64})
        form._show()
        await until(pilot, lambda: "✗ lora.r: cannot change in a branch" in shown(app))
        await pilot.press("a")
        assert app.screen is form
        form._draft = form._before
        form._show()
        await pilot.press("a")
        await until(pilot, lambda: bool(started))
    (name,) = started
    parent = read_parent(sessions.find(root, name))
    assert parent is not None
    assert (parent.session, parent.step, parent.way) == (done.name, 200, "exact")


async def test_what_is_saved_and_measured_meanwhile_comes_into_the_list(
    root: Path, done: SessionPaths
) -> None:
    app = TuiLora(root, session=done, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, done, Status.STOPPED)
        checkpoints.remove(done.checkpoints / "step-000300")
        beside = done.checkpoints / ".saving"
        beside.mkdir()
        for name in checkpoints.NEEDED:
            (beside / name).write_text("450")
        final = done.checkpoints / checkpoints.folder_name(450)
        checkpoints.seal(beside, final, step=450, tokens_seen=450_000)
        saved = CheckpointSaved(step=450, path=final.name, size_bytes=9, seconds=0.1)
        measured = Evaluated(step=450, loss=0.5, rows=9, seconds=0.1)
        write(done, iter([measured, saved]), first=9000)
        await show(pilot, run_of(done, Status.STOPPED))
        await until(pilot, lambda: "✓ whole" in line_of(app, 450))
        assert "0.500" in line_of(app, 450)
        assert "★ best" in line_of(app, 450)
        assert not any(row.split()[:1] == ["300"] for row in picture(app))
        await pilot.press("home")
        pin(done, 450)
        await pilot.press("x")
        await until(pilot, lambda: "It is the best on the held-out rows" in shown(app))
