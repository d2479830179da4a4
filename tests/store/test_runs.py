"""Repeating a run, and what a session is beside another: its spec as it holds now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.recorded import make_session
from tests.store.test_sessions import write_events
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, MemoryMeasured, SpecChanged, StepDone
from tui_lora.core.spec import RunSpec
from tui_lora.core.spec_differences import differences
from tui_lora.store import runs, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_sides import of_session
from tui_lora.store.writable import must_take_files


def changed(root: Path) -> SessionPaths:
    """A session whose micro-batch was halved on the way."""
    spec = RunSpec.model_validate({"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}})
    paths = sessions.create(root, "one", spec)
    write_events(
        paths,
        AttemptStarted(attempt=1, pid=1),
        SpecChanged(changes={"training.micro_batch": 1, "training.accumulation": 16}),
    )
    return paths


def test_a_duplicate_has_the_spec_as_it_holds_now_and_nothing_else(tmp_path: Path) -> None:
    paths = changed(tmp_path)
    copy = runs.duplicate(tmp_path, paths, changes={"lora.r": 8})
    assert copy.name == "one-2"
    spec = read_spec(copy.spec)
    assert (spec.training.micro_batch, spec.training.accumulation, spec.lora.r) == (1, 16, 8)
    assert not copy.events.exists()


def test_a_trial_writes_over_nothing_that_a_session_brings(tmp_path: Path) -> None:
    paths = make_session(tmp_path, "foreign")
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    planted = paths.folder / f".trial.{os.getpid()}"
    planted.symlink_to(mine)
    before = sorted(paths.folder.iterdir())
    must_take_files(paths)
    assert mine.read_text() == "mine"
    assert sorted(paths.folder.iterdir()) == before
    with pytest.raises(UserError, match="cannot be written to"):
        must_take_files(SessionPaths(mine))


def test_side_by_side_stands_what_holds_now(tmp_path: Path) -> None:
    paths = changed(tmp_path)
    plain = sessions.create(tmp_path, "plain", read_spec(paths.spec))
    found = differences(of_session(plain).side, of_session(paths).side)
    assert [(one.setting.path, one.left, one.right) for one in found] == [
        ("training.micro_batch", 2, 1),
        ("training.accumulation", 8, 16),
    ]


def test_the_peak_of_a_session_is_what_was_measured_at_its_end(tmp_path: Path) -> None:
    paths = changed(tmp_path)
    write_events(paths, StepDone(step=1, epoch=0.1, peak_reserved_gib=10.6))
    assert sessions.summarize(paths).peak_vram_gib == 10.6
    write_events(paths, MemoryMeasured(card="T4", peak_reserved_gib=11.2))
    assert sessions.summarize(paths).peak_vram_gib == 11.2
