"""Orders to a run that trains, for real: pause, hold, go on, discard, other settings, extend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import workers
from tests.worker.test_train import as_it_was_at, equal
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.changed import Difference
from tui_lora.core.events import SpecChanged
from tui_lora.core.orders import ChangeSpec, Discard, GoOn, Hold, Pause, SaveCheckpoint
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.changed_since import changed_since
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_now import spec_now
from tui_lora.worker.inbox import AS_YOU_ASKED, Ending

pytestmark = pytest.mark.model

LONG = {
    "training__max_steps": 2000,
    "evaluation__every_steps": 5000,
    "evaluation__save_every_steps": 5000,
}


class NoRoomAtFirst:
    """The disk has no room for the first checkpoint that is wanted, and for those after it."""

    def __call__(self) -> None:
        from collections import namedtuple

        from tui_lora.worker import saving

        room, usage = namedtuple("room", "total free"), saving.shutil.disk_usage
        look = saving.Saving._look_for_room

        def first(self_: saving.Saving) -> None:
            saving.Saving._look_for_room = look  # type: ignore[method-assign]
            saving.shutil.disk_usage = lambda _: room(1 << 41, 10)  # type: ignore[assignment,misc]
            try:
                look(self_)
            finally:
                saving.shutil.disk_usage = usage

        saving.Saving._look_for_room = first  # type: ignore[method-assign]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def test_pause_frees_everything_and_resume_ends_where_an_unbroken_run_does(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(tiny_model, rows, **{**LONG, "training__max_steps": 30})
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0
    paths = sessions.create(root, "paused", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        order = sessions.give(paths, Pause)
        assert workers.finish(worker) == 0
    view = view_of(paths)
    assert sessions.status_of(paths) is Status.PAUSED
    assert view.answers[order.id].ok
    assert not (paths.adapter / "adapter_model.safetensors").exists()
    assert [one.step for one in checkpoints(paths.checkpoints)] == [view.step]
    assert f"goes on from step {view.step}" in view.verdict_message
    assert workers.train(paths) == 0
    assert view_of(paths).resumed_from == view.step
    assert equal(paths, whole)


def test_a_hold_keeps_everything_and_changes_nothing(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(tiny_model, rows, **{**LONG, "training__max_steps": 30})
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0
    paths = sessions.create(root, "held", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        hold = sessions.give(paths, Hold)
        held = wait_for(paths, lambda view: view.holding)
        assert held.answers[hold.id].ok
        assert sessions.status_of(paths) is Status.HOLDING
        save = sessions.give(paths, SaveCheckpoint)
        view = wait_for(paths, lambda view: save.id in view.answers)
        assert (view.answers[save.id].ok, view.step) == (True, held.step)
        assert [one.step for one in checkpoints(paths.checkpoints)] == [held.step]
        on = sessions.give(paths, GoOn)
        assert wait_for(paths, lambda view: on.id in view.answers).answers[on.id].ok
        assert workers.finish(worker) == 0
    assert view_of(paths).verdict == "done"
    assert equal(paths, whole)


def evaluated_at_each_step(tiny_model: Path, rows: Path) -> RunSpec:
    """With dropout, which draws from what an evaluation draws from, too."""
    often = {"training__max_steps": 30, "evaluation__every_steps": 1, "lora__dropout": 0.1}
    return tiny_spec(tiny_model, rows, **{**LONG, **often})


def test_what_is_saved_before_an_evaluation_goes_on_bit_for_bit(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    """A hold's checkpoint is written before what is due at its step."""
    spec = evaluated_at_each_step(tiny_model, rows)
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0
    paths = sessions.create(root, "held", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        sessions.give(paths, Hold)
        step = wait_for(paths, lambda view: view.holding).step
        save = sessions.give(paths, SaveCheckpoint)
        wait_for(paths, lambda view: save.id in view.answers)
        sessions.give(paths, GoOn)
        assert workers.finish(worker) == 0
    assert step in [one.step for one in sessions.evaluations(paths)]
    assert equal(paths, whole)
    again = as_it_was_at(step, paths, "again")
    assert workers.train(again) == 0
    assert view_of(again).resumed_from == step < 30
    assert equal(again, whole)


@pytest.mark.long
def test_a_change_at_the_step_of_an_evaluation_goes_on_bit_for_bit(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = evaluated_at_each_step(tiny_model, rows)
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0
    paths = sessions.create(root, "anew", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        sessions.give(paths, ChangeSpec, changes={"guards.disk_gib": 0.5})
        assert workers.finish(worker) == 0
    view = view_of(paths)
    assert (view.attempt, view.verdict) == (2, "done")
    assert equal(paths, whole)


def test_a_hold_takes_no_step_for_a_checkpoint_however_often_it_is_asked_for(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    """The card may be lent to a chat by then; so too where the disk takes none."""
    paths = sessions.create(root, "held", tiny_spec(tiny_model, rows, **LONG))
    worker = workers.start(paths, first=NoRoomAtFirst())
    try:
        wait_for(paths, lambda view: view.step >= 1)
        sessions.give(paths, Hold)
        step = wait_for(paths, lambda view: view.holding).step
        said = []
        for _ in range(3):
            order = sessions.give(paths, SaveCheckpoint)
            view = wait_for(paths, lambda view, order=order: order.id in view.answers)
            said.append(view.answers[order.id])
        assert [answer.ok for answer in said] == [False, True, True]
        assert "No space left" in said[0].message
        longer = sessions.give(paths, ChangeSpec, changes={"evaluation.log_every_steps": 7})
        wait_for(paths, lambda view: longer.id in view.answers)
        sessions.give(paths, Discard)
        assert workers.finish(worker) == 0
    finally:
        worker.kill()
    view = view_of(paths)
    assert (view.step, view.checkpoint_steps) == (step, [step])


def test_a_change_that_needs_a_checkpoint_is_refused_without_one(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    """The run goes on as it was, and says so; asked once more there is room."""
    paths = sessions.create(root, "longer", tiny_spec(tiny_model, rows, **LONG))
    worker = workers.start(paths, first=NoRoomAtFirst())
    try:
        wait_for(paths, lambda view: view.step >= 1)
        order = sessions.give(paths, ChangeSpec, changes={"training.max_steps": 60})
        view = wait_for(paths, lambda view: order.id in view.answers)
        answer = view.answers[order.id]
        assert not answer.ok
        assert "No space left on device" in answer.message
        assert answer.message.endswith("It goes on as it was")
        wait_for(paths, lambda now: now.step > view.step + 5)
        again = sessions.give(paths, ChangeSpec, changes={"training.max_steps": 3000})
        view = wait_for(paths, lambda view: again.id in view.answers)
        assert view.answers[again.id].ok
        assert view.answers[again.id].message.endswith(", and loading anew with it")
    finally:
        worker.kill()


@dataclass(frozen=True)
class EndsAfterChange:
    """Somebody ends the run as soon as it has promised to load anew."""

    how: Ending

    def __call__(self) -> None:
        from tui_lora.worker.control import Control

        really = Control._take_changes

        def take(self_: Control, *given: object) -> None:
            really(self_, *given)  # type: ignore[arg-type]
            if self_.onward:
                self_._trainer.inbox.end(self.how, AS_YOU_ASKED)

        Control._take_changes = take  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("how", "evaluated_every"),
    [
        ("pause", 1),
        ("stop", 5000),
        pytest.param("stop", 1, marks=pytest.mark.long),
        pytest.param("discard", 1, marks=pytest.mark.long),
    ],
)
def test_a_promised_change_holds_where_the_end_comes_first(
    root: Path, tiny_model: Path, rows: Path, how: Ending, evaluated_every: int
) -> None:
    """While what is due at that step is measured, and right before it would have loaded anew."""
    lengths = {**LONG, "evaluation__every_steps": evaluated_every}
    paths = sessions.create(root, "ended", tiny_spec(tiny_model, rows, **lengths))
    worker = workers.start(paths, first=EndsAfterChange(how))
    try:
        wait_for(paths, lambda view: view.step >= 1)
        change = sessions.give(paths, ChangeSpec, changes={"training.max_steps": 3000})
        assert workers.finish(worker) == 0
    finally:
        worker.kill()
    view = view_of(paths)
    assert (view.attempt, view.answers[change.id].ok) == (1, True)
    assert view.verdict == ("paused" if how == "pause" else "stopped")
    assert spec_now(paths).training.max_steps == 3000
    assert not must_be_asked(paths)


def must_be_asked(paths: SessionPaths) -> list[Difference]:
    """What a resume would ask about."""
    return [one for one in changed_since(paths) if one.how != "note"]


def test_a_held_run_can_be_paused(root: Path, tiny_model: Path, rows: Path) -> None:
    paths = sessions.create(root, "held", tiny_spec(tiny_model, rows, **LONG))
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        sessions.give(paths, Hold)
        step = wait_for(paths, lambda view: view.holding).step
        sessions.give(paths, Pause)
        assert workers.finish(worker) == 0
    assert sessions.status_of(paths) is Status.PAUSED
    assert [one.step for one in checkpoints(paths.checkpoints)] == [step]


def test_discard_saves_nothing(root: Path, tiny_model: Path, rows: Path) -> None:
    paths = sessions.create(root, "gone", tiny_spec(tiny_model, rows, **LONG))
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        order = sessions.give(paths, Discard)
        assert workers.finish(worker) == 0
    view = view_of(paths)
    assert sessions.status_of(paths) is Status.STOPPED
    assert view.answers[order.id].ok
    assert "without saving" in view.verdict_message
    assert "begin anew" in view.verdict_message
    assert checkpoints(paths.checkpoints) == []
    assert not (paths.adapter / "adapter_model.safetensors").exists()


def test_intervals_change_while_it_runs(root: Path, tiny_model: Path, rows: Path) -> None:
    paths = sessions.create(root, "changed", tiny_spec(tiny_model, rows, **LONG))
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        wrong = sessions.give(paths, ChangeSpec, changes={"lora.r": 64})
        order = sessions.give(
            paths, ChangeSpec, changes={"evaluation.save_every_steps": 2, "evaluation.keep": 2}
        )
        view = wait_for(paths, lambda view: len(view.checkpoint_steps) >= 3)
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    assert view.answers[order.id].ok
    assert not view.answers[wrong.id].ok
    assert "weights of another adapter" in view.answers[wrong.id].message
    assert view.attempt == 1
    assert all(step % 2 == 0 for step in view.checkpoint_steps)
    assert len(checkpoints(paths.checkpoints)) == 2
    assert spec_now(paths).evaluation.save_every_steps == 2


def test_a_run_of_another_length_goes_on_as_the_same_process(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(tiny_model, rows, **{**LONG, "training__max_steps": 400})
    paths = sessions.create(root, "shorter", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        pid = worker.pid
        order = sessions.give(paths, ChangeSpec, changes={"training.max_steps": 60})
        view = wait_for(paths, lambda view: view.attempt == 2)
        assert workers.finish(worker) == 0
    whole = view_of(paths)
    assert (view.answers[order.id].ok, whole.pid) == (True, pid)
    assert (whole.verdict, whole.total_steps, whole.step) == ("done", 60, 60)
    assert whole.resumed_from is not None
    assert whole.learning_rate.latest == pytest.approx(0, abs=1e-5)
    assert [one.reason for one in sessions.events_of(paths, SpecChanged)] == ["as you asked"]
