"""What the verbs print goes where it can, into a closed pipe and an ASCII terminal too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorded import done_session
from tui_lora.core.spec import ModelSpec
from tui_lora.headless.chat_targets import _told_apart
from tui_lora.headless.verbs import LS_FIXED, _ls_widths
from tui_lora.store.adapters import ChatTarget

CLI = [sys.executable, "-m", "tui_lora.cli"]


def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path) -> None:
    done_session(tmp_path, total=4000)
    watch = subprocess.Popen(
        [*CLI, "--sessions", str(tmp_path), "watch", "done", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watch.stdout is not None
    assert watch.stderr is not None
    assert watch.stdout.readline().startswith(b"{")
    watch.stdout.close()
    assert watch.wait(60) == 0
    assert watch.stderr.read() == b""


def test_a_terminal_that_knows_only_ascii(tmp_path: Path) -> None:
    done_session(tmp_path, total=10)
    done = subprocess.run(
        [*CLI, "--sessions", str(tmp_path), "watch", "done"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"done: done" in done.stdout


@pytest.mark.parametrize("columns", [66, 80, 100, 130, 200])
@pytest.mark.parametrize("longest", [7, 20, 64])
def test_a_line_of_ls_fits_its_terminal(longest: int, columns: int) -> None:
    name, model = _ls_widths(longest, columns)
    assert 7 <= name <= longest
    assert name + LS_FIXED + (2 + model if model else 0) <= columns
    assert model == 0 or model >= 16
    assert _ls_widths(longest, 0)[0] == longest


def test_ls_in_a_pipe_cuts_no_name(tmp_path: Path) -> None:
    name = "a-rather-long-name-" + "z" * 41
    done_session(tmp_path, name, 10)
    listed = subprocess.run(
        [*CLI, "--sessions", str(tmp_path), "ls"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.splitlines()[1].startswith(f"{name}  done ")


def test_two_folders_called_adapter_are_two_voices() -> None:
    def target(name: str, folder: str | None) -> ChatTarget:
        adapter = Path(folder) if folder else None
        return ChatTarget(name, ModelSpec(id="m"), adapter=adapter)

    texts = ["a/adapter", "b/adapter/", "base", "run"]
    targets = [
        target("adapter", "/x/a/adapter"),
        target("adapter", "/x/b/adapter"),
        target("base", None),
        target("run", "/x/run/adapter"),
    ]
    assert [t.name for t in _told_apart(targets, texts)] == [
        "a/adapter",
        "b/adapter",
        "base",
        "run",
    ]
