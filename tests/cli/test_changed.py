"""What was changed since a run was last at work, in a shell: asked on a terminal, refused in a
pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pty_terminal import Terminal
from tests.stopped import edit, resolve, stopped_session
from tui_lora.core.changed import CHECKPOINTS, EVERYTHING, ROWS
from tui_lora.headless import start_again, verbs
from tui_lora.store.paths import SessionPaths
from tui_lora.store.versions import versions


@pytest.fixture
def run(tmp_path: Path) -> SessionPaths:
    paths = stopped_session(tmp_path, hardware__devices="cpu")
    (tmp_path / "rows.jsonl").write_text('{"text": "other"}\n' * 9)
    resolve(paths, versions={**versions(), "python": "3.9.1"})
    return paths


@pytest.mark.parametrize("verb", ["resume", "train"])
def test_in_a_pipe_it_is_refused(run: SessionPaths, verb: str) -> None:
    command = [sys.executable, "-m", "tui_lora.cli", "--sessions", str(run.folder.parent)]
    done = subprocess.run(
        [*command, verb, "run"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "dataset.path: " in done.stderr
    assert "rows.jsonl holds other rows" in done.stderr
    assert "tui-lora resume run --accept-changes" in done.stderr


def test_on_a_terminal_it_asks(run: SessionPaths) -> None:
    with Terminal(["--sessions", str(run.folder.parent), "resume", "run"]) as terminal:
        terminal.wait_for("y/N")
        seen = "\n".join(terminal.screen.display)
        assert "! dataset.path" in seen
        assert "· python: 3.9.1 →" in seen
        terminal.send("\n")
        assert terminal.wait() == 130


def test_what_is_accepted_is_passed_on(run: SessionPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        "tui_lora.store.launch.start_training", lambda *_, accept, **__: told.append(tuple(accept))
    )
    root = run.folder.parent
    assert verbs.resume(root, "run", changes=[], detach=True, accept=True) == 0
    assert told == [(EVERYTHING,)]
    monkeypatch.setattr(start_again, "_ask", lambda *_: None)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    assert verbs.resume(root, "run", changes=[], detach=True) == 0
    assert told[1:] == [("dataset.path", ROWS)]


def test_it_begins_anew_only_where_that_was_said(
    run: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours may be in what is damaged: whoever accepts all changes has not meant that."""
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        "tui_lora.store.launch.start_training", lambda *_, accept, **__: told.append(tuple(accept))
    )
    (run.checkpoints / "step-000200" / "weights").write_bytes(b"")
    root = run.folder.parent
    with pytest.raises(verbs.UserError, match="nothing to go on from") as caught:
        verbs.resume(root, "run", changes=[], detach=True, accept=True)
    assert "step-000200: weights has 0 of 1 bytes" in caught.value.what
    assert caught.value.then.endswith("tui-lora resume run --begin-anew")
    assert told == []
    assert verbs.resume(root, "run", changes=[], detach=True, anew=True) == 0
    assert told == [(CHECKPOINTS,)]
    monkeypatch.setattr(start_again, "_ask", lambda *_: None)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    assert verbs.resume(root, "run", changes=[], detach=True) == 0
    assert told[1:] == [(CHECKPOINTS,)]


def test_nothing_makes_a_checkpoint_survive_another_rank(run: SessionPaths) -> None:
    edit(run, "lora.r", 3)
    with pytest.raises(verbs.UserError, match=r"lora\.r: 16 → 3"):
        verbs.resume(run.folder.parent, "run", changes=[], detach=True, accept=True)
