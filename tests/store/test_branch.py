"""A branch on disk: nothing of elsewhere is copied, and there is all of it or none."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.recorded import done_session
from tui_lora.core.errors import UserError
from tui_lora.store.branch import branch
from tui_lora.store.checkpoints import NEEDED, damage, seal
from tui_lora.store.paths import SessionPaths

LARGE = 1 << 18


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    """With a checkpoint of step 200, and files beside it."""
    monkeypatch.setattr("tui_lora.store.branch.preflight", lambda *_, **__: ())
    paths = done_session(tmp_path / "root", "first")
    beside = paths.checkpoints / ".saving"
    beside.mkdir(parents=True)
    for name in NEEDED:
        (beside / name).write_text("x")
    seal(beside, paths.checkpoints / "step-000200", step=200, tokens_seen=1)
    (paths.folder / "began.safetensors").write_bytes(b"b" * 100)
    (paths.reference / "deep").mkdir(parents=True)
    (paths.reference / "deep" / "weights").write_bytes(b"w" * LARGE)
    return paths


def test_it_holds_all_that_its_parent_goes_on_with(first: SessionPaths) -> None:
    made = branch(first.folder.parent, first, 200, "new", {})
    assert damage(made.checkpoints / "step-000200") is None
    assert (made.folder / "began.safetensors").read_bytes() == b"b" * 100
    assert (made.reference / "deep" / "weights").read_bytes() == b"w" * LARGE


@pytest.mark.parametrize(
    "name", ["began.safetensors", "reference", "resolved.yaml", "checkpoints/step-000200/x"]
)
def test_nothing_behind_a_link_is_copied(first: SessionPaths, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "file").write_text("somebody else's")
    link = first.folder / name
    if link.is_dir():
        link.rename(tmp_path / "was")
    link.unlink(missing_ok=True)
    link.symlink_to(secret if name == "reference" else secret / "file")
    with pytest.raises(UserError, match=f"{name} is a link that leads out of first"):
        branch(first.folder.parent, first, 200, "new", {})
    assert [path.name for path in first.folder.parent.iterdir()] == ["first"]


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(first: SessionPaths) -> None:
    root = first.folder.parent
    with no_file_over(LARGE - 1), pytest.raises(UserError, match="File too large"):
        branch(root, first, 200, "new", {})
    assert [path.name for path in root.iterdir()] == ["first"]
    branch(root, first, 200, "new", {})


def test_what_a_killed_one_left_goes_after_a_day(first: SessionPaths) -> None:
    root = first.folder.parent
    for name, age_s in ((".new-old", 90_000), (".new-now", 0), (".deleted-old", 90_000)):
        (root / name / "checkpoints").mkdir(parents=True)
        then = (root / name).stat().st_mtime - age_s
        os.utime(root / name, (then, then))
    branch(root, first, 200, "new", {})
    assert sorted(path.name for path in root.iterdir()) == [".new-now", "first", "new"]
