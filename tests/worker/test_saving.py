"""Checkpoints as a run saves and loads them: which are kept, and what happens where a disk or a
file will not do."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import workers
from tests.faults.test_pickles import Trap, in_torch_s_way, reseal
from tests.workers import tiny_spec, view_of
from tui_lora.core.changed import CHECKPOINTS
from tui_lora.core.spec import RunSpec
from tui_lora.store import sessions
from tui_lora.store.checkpoints import MANIFEST, checkpoints
from tui_lora.store.paths import SessionPaths
from tui_lora.store.pins import pin
from tui_lora.worker import saving
from tui_lora.worker.outcome import Outcome

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def spec(tiny_model: Path, rows: Path) -> RunSpec:
    return tiny_spec(
        tiny_model, rows, training__max_steps=4, evaluation__every_steps=1,
        evaluation__save_every_steps=1, evaluation__keep=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> SessionPaths:
    """Pinned at its first step before it began; its checkpoints are those of steps 1, 3 and 4."""
    paths = sessions.create(tmp_path_factory.mktemp("whole"), "whole", spec)
    pin(paths, 1)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    return paths


def weights(paths: SessionPaths) -> bytes:
    return (paths.adapter / "adapter_model.safetensors").read_bytes()


def broken_off(whole: SessionPaths, folder: Path) -> SessionPaths:
    """A copy elsewhere that died after its checkpoint of step 3."""
    folder.mkdir()
    paths = SessionPaths(folder / "moved")
    shutil.copytree(whole.folder, paths.folder)
    paths.result.unlink()
    shutil.rmtree(paths.adapter)
    shutil.rmtree(paths.checkpoints / "step-000004")
    return paths


def told(paths: SessionPaths) -> str:
    return "\n".join(line.text for line in view_of(paths).log)


def test_the_pinned_one_stays_and_libraries_are_named(whole: SessionPaths) -> None:
    there = checkpoints(whole.checkpoints)
    assert [one.step for one in there] == [1, 3, 4]
    manifest = json.loads((there[0].folder / MANIFEST).read_text())
    assert {"torch", "transformers", "peft", "trl", "tui-lora"} <= manifest["versions"].keys()
    assert not [name for name in manifest["files"] if name.endswith(".bin")]


def test_one_that_was_moved_goes_on_bit_for_bit(whole: SessionPaths, tmp_path: Path) -> None:
    paths = broken_off(whole, tmp_path / "other")
    # Planted, whether the manifest names it or not: nobody opens it.
    newest = paths.checkpoints / "step-000003"
    mark = tmp_path / "it-ran"
    for name in ("pytorch_model.bin", "scaler.pt"):
        in_torch_s_way(newest / name, Trap(mark))
    reseal(newest)
    (newest / "optimizer_0").mkdir()
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    view = view_of(paths)
    assert view.resumed_from == 3
    assert weights(paths) == weights(whole)
    assert "made in float16" in told(paths)
    assert not mark.exists()
    assert [path.name for path in paths.checkpoints.iterdir() if path.name[0] == "."] == []


@pytest.mark.long
def test_one_that_cannot_be_loaded_is_passed_over(whole: SessionPaths, tmp_path: Path) -> None:
    paths = broken_off(whole, tmp_path / "other")
    newest = paths.checkpoints / "step-000003"
    in_torch_s_way(newest / "optimizer.pt", Trap(tmp_path / "it-ran"))
    reseal(newest)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    view = view_of(paths)
    assert view.resumed_from == 1
    assert weights(paths) == weights(whole)
    assert (
        "passed over checkpoint step-000003: the optimizer's state is a pickle of something else "
        "than tensors and plain values"
    ) in told(paths)
    assert "weights_only" not in told(paths)
    assert not (tmp_path / "it-ran").exists()


def test_without_another_nothing_begins_anew(whole: SessionPaths, tmp_path: Path) -> None:
    paths = broken_off(whole, tmp_path / "other")
    shutil.rmtree(paths.checkpoints / "step-000001")
    newest = paths.checkpoints / "step-000003"
    (newest / "optimizer.pt").unlink()
    reseal(newest)
    assert workers.train(paths) == 1
    result = sessions.read_result(paths)
    assert result is not None
    assert "step-000003 is whole as it was written, but optimizer.pt is not in it" in result.message
    assert newest.is_dir()


def test_a_worker_does_not_train_over_what_is_damaged(whole: SessionPaths, tmp_path: Path) -> None:
    paths = broken_off(whole, tmp_path / "other")
    for one in checkpoints(paths.checkpoints):
        (one.folder / "optimizer.pt").write_bytes(b"")
    assert workers.train(paths) == 1
    assert "nothing to go on from" in sessions.read_result(paths).message  # type: ignore[union-attr]
    assert len(checkpoints(paths.checkpoints)) == 2
    anew = ("--accept", json.dumps([CHECKPOINTS]))
    assert workers.finish(workers.start(paths, more=anew)) == 0
    assert view_of(paths).resumed_from is None
    assert weights(paths) == weights(whole)


@dataclass(frozen=True)
class FullFrom:
    """The disk says that it has no room at the checkpoints of some steps."""

    steps: tuple[int, ...]

    def __call__(self) -> None:
        from collections import namedtuple

        from tui_lora.worker import saving

        room = namedtuple("room", "total free")
        really, usage = saving.Saving.save, saving.shutil.disk_usage

        def save(self_: saving.Saving, write: object) -> None:
            full = self_._trainer.state.global_step in self.steps
            saving.shutil.disk_usage = lambda _: room(1 << 41, 10 if full else 1 << 40)  # type: ignore[assignment,misc]
            really(self_, write)  # type: ignore[arg-type]
            saving.shutil.disk_usage = usage

        saving.Saving.save = save  # type: ignore[method-assign]


def test_one_that_would_not_fit_is_left_out(spec: RunSpec, tmp_path: Path) -> None:
    paths = sessions.create(tmp_path, "full", spec)
    assert workers.finish(workers.start(paths, first=FullFrom((2, 3)))) == 0
    assert [one.step for one in checkpoints(paths.checkpoints)] == [1, 4]
    log = told(paths)
    assert log.count("no checkpoint at step 2: No space left on device (10 B are free") == 1
    assert "no checkpoint at step 3" not in log
    assert "saved again, this one at step 4; that of 2 steps, 2 to 3" in log


def test_done_is_said_with_what_it_lacks(spec: RunSpec, tmp_path: Path) -> None:
    """The adapter is whole; a longer run would begin before its end."""
    paths = sessions.create(tmp_path, "full", spec)
    assert workers.finish(workers.start(paths, first=FullFrom((4,)))) == 0
    result = sessions.read_result(paths)
    assert result is not None
    assert result.verdict == "done"
    assert "the checkpoint of step 4 could not be written: No space left" in result.message
    assert "Made longer, it goes on from step 3." in result.message
    assert "The run ends all the same" in told(paths)


@dataclass(frozen=True)
class NoRoom:
    """The disk has so many bytes for all that is written from the first step on."""

    free: int

    def __call__(self) -> None:
        from collections import namedtuple

        from tui_lora.worker import saving

        room = namedtuple("room", "total free")
        saving.shutil.disk_usage = lambda _: room(1 << 41, self.free)  # type: ignore[assignment,misc]


def test_a_disk_that_tells_nothing_of_itself_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system in user space without statfs has no size, and nothing free."""
    usage = type(saving.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: usage(0, 0, 0))
    saving._must_have(tmp_path, 1 << 40)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: usage(1, 1, 0))
    with pytest.raises(OSError, match="No space left"):
        saving._must_have(tmp_path, 1 << 40)


@pytest.mark.parametrize("lacks", ["the adapter", "the optimizer's state"])
def test_the_room_for_the_first_one_and_the_adapter_is_looked_at_before(
    spec: RunSpec, whole: SessionPaths, tmp_path: Path, lacks: str
) -> None:
    """By what is trained and what the optimizer holds, whose file is a little larger."""
    first = checkpoints(whole.checkpoints)[0].folder
    adapter, optimizer = (
        (first / name).stat().st_size for name in ("adapter_model.safetensors", "optimizer.pt")
    )
    spare = saving._SPARE_BYTES
    free = spare + adapter // 2 if lacks == "the adapter" else spare + adapter + optimizer // 2
    paths = sessions.create(tmp_path, "full", spec)
    code = workers.finish(workers.start(paths, first=NoRoom(free)))
    assert checkpoints(paths.checkpoints) == []
    assert "no checkpoint at step 1: No space left on device (" in told(paths)
    result = sessions.read_result(paths)
    assert result is not None
    if lacks == "the adapter":
        assert code == 1
        assert "the adapter could not be written: No space left on device (" in result.message
    else:
        assert result.verdict == "done"
        assert "Made longer, it has no checkpoint, so it would begin anew." in result.message


def test_what_is_said_of_an_end_is_what_a_resume_finds(whole: SessionPaths, tmp_path: Path) -> None:
    paths = broken_off(whole, tmp_path / "other")
    (paths.checkpoints / "step-000003" / "optimizer.pt").write_bytes(b"")
    outcome = Outcome(2, 1)
    outcome.discarded(paths, "as you asked")
    assert outcome.message == "without saving, as you asked; it goes on from step 1"


@dataclass(frozen=True)
class NoRandomState:
    """A resumed run that does not take up the random state of its checkpoint."""

    def __call__(self) -> None:
        from tui_lora.worker import trainer

        trainer.Session._load_rng_state = lambda *_: None  # type: ignore[method-assign]


def test_the_random_state_is_what_makes_it_exact(whole: SessionPaths, tmp_path: Path) -> None:
    paths = broken_off(whole, tmp_path / "other")
    assert workers.finish(workers.start(paths, first=NoRandomState())) == 0
    assert weights(paths) != weights(whole)
