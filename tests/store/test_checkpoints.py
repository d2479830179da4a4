"""Checkpoints: which are kept, which may go, and which are pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.store.checkpoints import (
    checkpoints,
    damage,
    folder_name,
    keep_apart,
    known_files,
    newest_whole,
    none_is_whole,
    prune,
    seal,
)
from tui_lora.store.paths import SessionPaths
from tui_lora.store.pins import pin, pinned
from tui_lora.store.removal import remove_checkpoint


def save(folder: Path, step: int) -> Path:
    beside = folder / ".saving"
    beside.mkdir(parents=True)
    (beside / "weights").write_text("w" * step)
    seal(beside, folder / folder_name(step), step=step, tokens_seen=step)
    return folder / folder_name(step)


def kept(folder: Path) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints(folder)]


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, step)
    assert prune(tmp_path, keep=2, newest=6) == [2]
    assert kept(tmp_path) == [4, 6]


def test_a_damaged_one_never_pushes_out_a_whole_one(tmp_path: Path) -> None:
    save(tmp_path, 4)
    (save(tmp_path, 8) / "weights").write_text("")
    found, passed = newest_whole(tmp_path)
    assert found is not None
    assert found.step == 4
    assert "step-000008: weights has 0 of 8 bytes" in passed[0]
    save(tmp_path, 9)
    assert keep_apart(tmp_path, 4, {9}) == ["passed-over-step-000008"]
    assert prune(tmp_path, keep=2, newest=9) == []
    assert kept(tmp_path) == [4, 9]
    # It is not deleted: who knows what it is may look into it.
    assert (tmp_path / "passed-over-step-000008" / "manifest.json").is_file()


def test_those_beyond_the_newest_stay(tmp_path: Path) -> None:
    for step in (2, 4, 8):
        save(tmp_path, step)
    assert prune(tmp_path, keep=1, newest=4) == [2]
    assert kept(tmp_path) == [4, 8]


def test_a_manifest_that_is_nested_for_ever_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 4)
    nested = save(tmp_path, 8)
    (nested / "manifest.json").write_text("[" * 200_000)
    found, passed = newest_whole(tmp_path)
    assert found is not None
    assert (found.step, passed) == (4, ["step-000008: it was never finished"])
    assert damage(nested) == "its manifest cannot be read"
    assert known_files(nested) == []
    assert none_is_whole(tmp_path) == []


def test_those_that_are_spared_stay_beside_the_last_ones(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        save(tmp_path, step)
    assert prune(tmp_path, keep=1, newest=8, spared={2, 7}) == [4, 6]
    assert kept(tmp_path) == [2, 8]


def test_one_that_is_replaced_or_half_deleted_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path, 2)
    (save(tmp_path, 2) / "stray").touch()
    (tmp_path / ".gone.step-000001").mkdir()
    save(tmp_path, 4)
    prune(tmp_path, keep=1, newest=4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]


def test_only_those_before_a_step_are_looked_at(tmp_path: Path) -> None:
    for step in (2, 4):
        save(tmp_path, step)
    found, passed = newest_whole(tmp_path, before=4)
    assert found is not None
    assert (found.step, passed) == (2, [])
    assert newest_whole(tmp_path, before=2) == (None, [])


def test_pins_are_notes_that_nobody_has_to_trust(tmp_path: Path) -> None:
    paths = SessionPaths(tmp_path)
    assert pinned(paths) == frozenset()
    pin(paths, 4)
    with paths.notes.open("ab") as file:
        file.write(b'[1]\n{"type":"pin","step":"x"}\n{"type":"pin","step":true}\n\xff{\n{"type":')
    pin(paths, 6)
    pin(paths, 4, wanted=False)
    pin(paths, 9)
    assert pinned(paths) == {6, 9}


def test_the_last_whole_one_of_a_run_that_can_be_resumed_stays(tmp_path: Path) -> None:
    paths = SessionPaths(tmp_path)
    save(paths.checkpoints, 2)
    (save(paths.checkpoints, 4) / "weights").write_text("")
    with pytest.raises(UserError, match="last whole one"):
        remove_checkpoint(paths, 2)
    remove_checkpoint(paths, 4)
    save(paths.checkpoints, 6)
    remove_checkpoint(paths, 2)
    assert kept(paths.checkpoints) == [6]
