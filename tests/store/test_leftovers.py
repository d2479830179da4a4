"""What a killed worker left behind."""

from __future__ import annotations

from pathlib import Path

from tests.recorded import make_session
from tui_lora.store.leftovers import clear


def test_what_is_half_done_goes_and_what_is_whole_comes_back(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    kept = {path.relative_to(paths.folder) for path in paths.folder.rglob("*")}
    (paths.folder / ".result.json.123").write_text("half")
    (paths.folder / ".adapter.new").mkdir()
    (paths.checkpoints / ".saving" / "checkpoint-4").mkdir(parents=True)
    (paths.folder / ".adapter.old").mkdir()
    (paths.folder / ".adapter.old" / "adapter_model.safetensors").write_text("whole")
    (paths.folder / ".mine").write_text("of somebody else")
    clear(paths)
    assert (paths.adapter / "adapter_model.safetensors").read_text() == "whole"
    left = {path.relative_to(paths.folder) for path in paths.folder.rglob("*")} - kept
    assert {str(path) for path in left} == {".mine", "adapter", "adapter/adapter_model.safetensors"}

    # With a newer adapter in place the old one goes.
    (paths.folder / ".adapter.old").mkdir()
    clear(paths)
    assert not (paths.folder / ".adapter.old").exists()
    assert (paths.adapter / "adapter_model.safetensors").read_text() == "whole"
