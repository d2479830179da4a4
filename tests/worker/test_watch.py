"""Guards and hooks of a run, for real."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import workers
from tests.workers import tiny_spec, view_of
from tui_lora.core.events import Evaluated
from tui_lora.core.guards_spec import GuardsSpec
from tui_lora.core.status import Status
from tui_lora.store import hooks, sessions
from tui_lora.store.checkpoints import checkpoints
from tui_lora.worker.progress import Progress

pytestmark = pytest.mark.model

COMMAND = 'echo "$TUI_LORA_VERDICT in $TUI_LORA_SESSION" > heard.txt; echo said'


def test_a_guard_pauses_and_the_hook_hears_of_it(
    tmp_path: Path, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk has so much room as is asked for here."""
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    hooks.confirm(COMMAND)
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000,
        guards__disk="pause", guards__disk_gib=100_000.0, guards__wall_clock="warn",
        guards__wall_clock_hours=1e-9,
        hooks__on_finish=COMMAND,
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


def test_what_was_measured_before_a_resume_counts_on() -> None:
    """As unbroken: the third evaluation above the best is told; what was told then is not again."""
    from tui_lora.worker.watch import Watch

    def seen(earlier: list[float], later: list[float]) -> list[str]:
        measured = [
            Evaluated(step=n, loss=loss, rows=1, seconds=1) for n, loss in enumerate(earlier)
        ]
        told: list[str] = []
        trainer = SimpleNamespace(
            progress=Progress(evaluations=measured), args=SimpleNamespace(),
            reporter=SimpleNamespace(say=lambda event: told.append(event.guard)),
        )  # fmt: skip
        trainer.args.device = SimpleNamespace(type="cpu")
        spec = GuardsSpec(overfitting="warn", nan="warn")
        watch = Watch(trainer, spec)  # type: ignore[arg-type]
        for step, loss in enumerate(later, len(earlier)):
            trainer.current_eval_loss = lambda loss=loss: loss
            watch.on_evaluate(trainer.args, SimpleNamespace(global_step=step), None)  # type: ignore[arg-type]
        return told

    curve = [1.5, 1.4, 1.6, 1.6, 1.7, 1.7]
    for resumed_at in range(4):
        assert seen(curve[:resumed_at], curve[resumed_at:]) == ["overfitting"], resumed_at
    assert seen(curve[:5], curve[5:]) == []
    # What is no number still is told of again: the run that goes on is stopped for it, too.
    assert seen([1.5, float("nan")], [float("nan")]) == ["nan"]


def test_a_hook_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_lora.store import launch
    from tui_lora.store.paths import SessionPaths

    monkeypatch.setattr(launch, "HOOK_S", 0.2)
    paths = SessionPaths(tmp_path)
    assert "longer than" in launch.run_hook("sleep 60", {}, paths)
    assert "exit code 127" in launch.run_hook("no-such-command-here", {}, paths)
