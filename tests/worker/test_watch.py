"""Guards and hooks of a run, for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import workers
from tests.workers import tiny_spec, view_of
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.checkpoints import checkpoints

pytestmark = pytest.mark.model


def test_a_guard_pauses_and_the_hook_hears_of_it(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    """No disk has so much room as is asked for here."""
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000,
        guards__disk="pause", guards__disk_gib=100_000.0, guards__wall_clock="warn",
        guards__wall_clock_hours=1e-9,
        hooks__on_finish='echo "$TUI_LORA_VERDICT in $TUI_LORA_SESSION" > heard.txt; echo said',
    )  # fmt: skip
    paths = sessions.create(tmp_path, "watched", spec)
    assert workers.train(paths) == 0
    view = view_of(paths)
    assert sessions.status_of(paths) is Status.PAUSED
    assert [one.step for one in checkpoints(paths.checkpoints)] == [view.step] == [1]
    assert "guards.disk" in view.verdict_message
    told = [line.text for line in view.log]
    assert any("GiB are free" in text for text in told)
    assert any("has run for" in text for text in told)
    assert (paths.folder / "heard.txt").read_text() == f"paused in {paths.folder}\n"
    assert "said" in paths.log.read_text()
    assert "hooks.on_finish: ended with exit code 0" in paths.log.read_text()


def test_a_hook_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_lora.store import launch
    from tui_lora.store.paths import SessionPaths

    monkeypatch.setattr(launch, "HOOK_S", 0.2)
    paths = SessionPaths(tmp_path)
    assert "longer than" in launch.run_hook("sleep 60", {}, paths)
    assert "exit code 127" in launch.run_hook("no-such-command-here", {}, paths)
