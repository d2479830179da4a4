"""Checkpoints: which are kept."""

from pathlib import Path

from tui_lora.store.checkpoints import checkpoints, folder_name, newest_whole, prune, seal


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
    save(tmp_path, 5)
    assert prune(tmp_path, keep=1, newest=5) == [4, 8]
    assert kept(tmp_path) == [5]
