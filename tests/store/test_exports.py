"""Where merged models go: what is never replaced, what is swept away, and names that are taken."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.models import write_model
from tests.recorded import done_session
from tui_lora.core.errors import UserError
from tui_lora.core.export import RECORD
from tui_lora.core.spec import ModelSpec
from tui_lora.store import exports
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.beside import folder_beside


def test_only_a_merged_model_of_ours_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    exports.check_out(out, replace_it=False)
    out.mkdir()
    exports.check_out(out, replace_it=False)
    (out / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UserError, match="no merged model of ours"):
            exports.check_out(out, replace_it=force)
    (out / RECORD).write_text(json.dumps({"version": 1}))
    with pytest.raises(UserError, match="is there already"):
        exports.check_out(out, replace_it=False)
    exports.check_out(out, replace_it=True)
    link = tmp_path / "link"
    link.symlink_to(out)
    with pytest.raises(UserError, match="no merged model of ours"):
        exports.check_out(link, replace_it=True)


def test_names_that_are_taken_are_kept(tmp_path: Path) -> None:
    assert exports.free_out(tmp_path / "merged-5") == tmp_path / "merged-5"
    (tmp_path / "merged-5").mkdir()
    (tmp_path / "merged-5-2").symlink_to("nowhere")
    assert exports.free_out(tmp_path / "merged-5") == tmp_path / "merged-5-3"


def test_what_a_killed_one_left_is_swept_away(tmp_path: Path) -> None:
    out = tmp_path / "merged-5"
    dead, alive = (tmp_path / f".merged-5.{pid}.partial" for pid in (2**22 + 1, os.getppid()))
    for folder in (dead, alive):
        folder.mkdir()
    with folder_beside(out) as beside:
        (beside / "config.json").write_text("{}")
        assert not dead.exists()
    assert list(tmp_path.iterdir()) == [alive]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "here cannot be written: No space"),
        (OSError(errno.EROFS, "Read-only", "here/.out.1.partial/x"), "here cannot be written: Re"),
        (FileNotFoundError(errno.ENOENT, "Gone", "/base/config.json"), "config.json cannot be r"),
        (PermissionError(errno.EACCES, "Denied", "here/base/x"), "here/base/x cannot be read"),
    ],
)
def test_what_could_not_be_read_is_not_called_unwritable(
    tmp_path: Path, error: OSError, says: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    if error.filename is not None:
        error.filename = str(tmp_path / error.filename)
    with pytest.raises(UserError, match=says), folder_beside(here / "out"):
        raise error


def test_what_a_library_says_stays_its_word(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Unable to load weights"), folder_beside(tmp_path / "out"):
        raise OSError("Unable to load weights")
    assert list(tmp_path.iterdir()) == []


def test_a_sessions_goes_into_its_exports_by_its_step(tmp_path: Path) -> None:
    paths = done_session(tmp_path)
    target = ChatTarget(paths.name, ModelSpec(id="m"), adapter=paths.adapter, session=paths)
    step = exports.step_of(target)
    assert step
    out = exports.default_out(target, step)
    assert out == paths.folder.absolute() / "exports" / f"merged-{step}"
    alone = ChatTarget("a", ModelSpec(id="m"), adapter=tmp_path / "mine")
    assert exports.default_out(alone, None) == tmp_path / "mine-merged"


def test_the_size_is_told_by_the_headers(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    target = ChatTarget("a", ModelSpec(id=str(base)))
    sizes = {
        name: exports.estimate(target, tmp_path / "out", name).size_bytes
        for name in ("auto", "float32", "bfloat16")
    }
    assert sizes["float32"] == 2 * (sizes["bfloat16"] or 0) > 0
    assert sizes["auto"] in (sizes["float32"], sizes["bfloat16"])
    gone = ChatTarget("a", ModelSpec(id="nobody/nothing"))
    assert exports.estimate(gone, tmp_path / "out", "auto").size_bytes is None
