"""A branch of a real run: exact from its step, or from the adapter alone; its parent may go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import workers
from tests.workers import tiny_spec, view_of
from tui_lora.core.errors import UserError
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.branch import branch
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_now import spec_now

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows: Path) -> SessionPaths:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=4, evaluation__every_steps=2,
        evaluation__save_every_steps=2, evaluation__keep=3, training__scheduler="constant",
    )  # fmt: skip
    paths = sessions.create(tmp_path_factory.mktemp("parent"), "parent", spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    return paths


def weights(paths: SessionPaths) -> bytes:
    return (paths.adapter / "adapter_model.safetensors").read_bytes()


def test_an_exact_branch_goes_on_where_its_parent_was(parent: SessionPaths, tmp_path: Path) -> None:
    root = tmp_path / "s"
    source = SessionPaths(root / "first")
    shutil.copytree(parent.folder, source.folder)
    same = branch(root, source, 2, "same", {})
    other = branch(
        root, source, 2, "other", {"training.micro_batch": 1, "training.accumulation": 4}
    )
    assert sessions.status_of(same) is Status.DRAFT
    shutil.rmtree(source.folder)
    for paths in (same, other):
        assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
        view = view_of(paths)
        assert view.resumed_from == 2
        before = view_of(parent)
        assert view.base_eval is not None
        assert before.base_eval is not None
        assert view.base_eval.loss == before.base_eval.loss
        assert [found.step for found in view.evaluations] == [0, 2, 4]
    assert weights(same) == weights(parent)
    # The same rows in the same order; the sums are of other parts.
    assert spec_now(other).training.micro_batch == 1
    assert view_of(other).last_step.tokens_seen == view_of(parent).last_step.tokens_seen  # type: ignore[union-attr]
    summary = sessions.summarize(same)
    assert summary.parent is not None
    assert summary.parent.words == "branched from first at step 2"


@pytest.mark.long
def test_a_branch_from_the_adapter_alone(parent: SessionPaths, tmp_path: Path) -> None:
    root = tmp_path / "s"
    made = branch(root, parent, 4, "slower", {"training.learning_rate": 1e-4})
    assert spec_now(made).lora.start_from == str(made.start)
    assert workers.train(made) == 0, made.log.read_text()[-2000:]
    view = view_of(made)
    assert view.resumed_from is None
    # It begins as good as its parent ended.
    tuned = view_of(parent).tuned_eval
    assert view.base_eval is not None
    assert tuned is not None
    assert view.base_eval.loss == pytest.approx(tuned.loss, rel=1e-5)


def test_what_cannot_be_is_refused_and_leaves_nothing(parent: SessionPaths, tmp_path: Path) -> None:
    root = tmp_path / "s"
    for step, changes, why in [
        (3, {}, "no checkpoint of step 3"),
        (2, {"lora.r": 8}, "keeps its own"),
        (2, {"model.id": "other/base"}, "means nothing on another"),
    ]:
        with pytest.raises(UserError, match=why):
            branch(root, parent, step, "new", changes)
    source = SessionPaths(root / "first")
    shutil.copytree(parent.folder, source.folder)
    (source.checkpoints / "step-000002" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        branch(root, source, 2, "new", {})
    assert [path.name for path in root.iterdir()] == ["first"]
