"""A sessions root that is full or cannot be written: refused with its path before anything starts,
and what lies there is shown all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.blows import SmallDisk, small_disk
from tests.recorded import done_session, finish, make_session
from tests.ui.conftest import picture, until
from tui_lora.core.errors import UserError
from tui_lora.core.queue import Queued
from tui_lora.store import runs, sessions
from tui_lora.store.queue_file import say
from tui_lora.store.spec_file import read_spec
from tui_lora.ui.app import TuiLora


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "root", 1024) as found:
        if found is None:
            pytest.skip("no disk can be mounted here: tests/store/test_sessions.py has other roots")
        done_session(found.folder, "done", 40)
        yield found


def command(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui_lora.cli", "--sessions", str(root), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def full(disk: SmallDisk) -> None:
    disk.fill()


def read_only(disk: SmallDisk) -> None:
    disk.read_only()


@pytest.mark.parametrize(
    ("spoil", "why"), [(full, "No space left on device"), (read_only, "Read-only file system")]
)
def test_it_is_refused_by_name_and_shown(disk: SmallDisk, spoil: object, why: str) -> None:
    root = disk.folder
    spec = read_spec(root / "done" / "run.yaml")
    paused = make_session(root, "paused")
    finish(paused, 20, verdict="paused")
    spoil(disk)  # type: ignore[operator]
    before = sorted(path.name for path in root.iterdir())
    with pytest.raises(UserError) as refused:
        sessions.create(root, "new", spec)
    assert str(root) in str(refused.value)
    assert why in str(refused.value)
    assert "--sessions FOLDER" in str(refused.value)
    with pytest.raises(UserError, match=f"paused cannot be written to {paused.folder}: {why}"):
        runs.resume(paused)
    assert not paused.log.exists()
    with pytest.raises(UserError, match="the queue could not be written"):
        say(root, Queued, "done", card="0")
    with pytest.raises(UserError):
        sessions.give(sessions.find(root, "done"), sessions.Stop)
    # An empty file takes no room on a full disk.
    assert sorted({path.name for path in root.iterdir()} - {"queue.jsonl"}) == before

    listed = command(root, "ls", "--json")
    statuses = {row["name"]: row["status"] for row in json.loads(listed.stdout)}
    assert statuses == {"done": "done", "paused": "paused"}
    started = command(root, "train", "--preset", "quickstart", "--detach")
    assert started.returncode == 2, started.stderr
    assert str(root) in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.parametrize("spoil", [full, read_only])
async def test_the_screens_open_on_it(
    disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: object
) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    spoil(disk)  # type: ignore[operator]
    app = TuiLora(disk.folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "done" in "\n".join(picture(app)))
        await pilot.press("enter")
        await until(pilot, lambda: app.run_now is not None)
        # Deleting is refused where it cannot be done, and the session stays.
        await pilot.press("1")
    assert (disk.folder / "done" / "run.yaml").is_file()


def test_a_root_that_is_no_folder_or_nobodys(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="sessions cannot be written"):
        sessions.make_root(tmp_path / "file")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(UserError, match="sessions cannot be written"):
            make_session(tmp_path / "closed")
