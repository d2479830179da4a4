"""A run that goes on with other settings: from its checkpoint, at the same place in the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import workers
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.errors import UserError
from tui_lora.core.spec import RunSpec
from tui_lora.store import launch, runs, sessions
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[BaseProcess]:
    """The workers that were started: forked, since importing takes seconds."""
    found: list[BaseProcess] = []

    def start(
        paths: SessionPaths,
        *,
        devices: str = "auto",
        changes: Mapping[str, Any] | None = None,
        reason: str = "",
        accept: Collection[str] = (),
    ) -> int:
        found.append(workers.start(paths, more=launch.asked_of(changes, reason, accept)))
        return found[-1].pid or 0

    monkeypatch.setattr(launch, "start_training", start)
    return found


def stopped(root: Path, name: str, spec: RunSpec, started: list[BaseProcess]) -> SessionPaths:
    """A session that was stopped at its first checkpoint."""
    paths = sessions.create(root, name, spec)
    process = workers.start(paths)
    wait_for(paths, lambda view: bool(view.checkpoint_steps))
    workers.kill(process)
    return paths


def weights(paths: SessionPaths) -> dict[str, torch.Tensor]:
    return load_file(paths.adapter / "adapter_model.safetensors")


def test_smaller_micro_batches_train_on_the_same_rows(
    tmp_path: Path, tiny_model: Path, rows: Path, started: list[BaseProcess]
) -> None:
    spec = tiny_spec(tiny_model, rows, lora__dropout=0.0, training__micro_batch=4)
    whole = sessions.create(tmp_path, "whole", spec)
    assert workers.train(whole) == 0
    paths = stopped(tmp_path, "halved", spec, started)
    changes = {"training.micro_batch": 1, "training.accumulation": 8}
    runs.resume(paths, changes=changes, reason="memory ran out")
    assert workers.finish(started[-1]) == 0
    view = view_of(paths)
    assert (view.verdict, view.step, view.total_steps) == ("done", 6, 6)
    assert view.resumed_from
    assert view.spec_changes == changes
    before, after = weights(whole), weights(paths)
    # Summed in another order, so not to the last bit; other rows differ by far more.
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=2e-4, rtol=1e-2)


def test_what_a_checkpoint_survives_it_survives(
    tmp_path: Path, tiny_model: Path, rows: Path, started: list[BaseProcess]
) -> None:
    paths = stopped(tmp_path, "a", tiny_spec(tiny_model, rows), started)
    changes = {
        "quantization.scheme": "nf4",
        "model.attention": "eager",
        "training.gradient_checkpointing": True,
        "training.max_length": 48,
        "training.neftune": 5.0,
        "training.max_steps": 7,
        "training.scheduler": "linear",
        "lora.dropout": 0.0,
        "evaluation.log_every_steps": 2,
        "evaluation.save_every_steps": 5,
        "hardware.on_oom": "retry",
    }
    runs.resume(paths, changes=changes)
    assert workers.finish(started[-1]) == 0
    view = view_of(paths)
    assert (view.verdict, view.step, view.spec_changes) == ("done", 7, changes)
    # transformers would take the intervals, as it takes the optimizer's settings, from the
    # checkpoint; the course of the learning rate is the new one.
    assert view.checkpoint_steps == [2, 5, 7]
    assert view.learning_rate.latest == pytest.approx(5e-3 / 6)


def test_what_it_does_not_survive_starts_nothing(
    tmp_path: Path, tiny_model: Path, rows: Path, started: list[BaseProcess]
) -> None:
    paths = stopped(tmp_path, "a", tiny_spec(tiny_model, rows), started)
    with pytest.raises(UserError) as caught:
        runs.resume(paths, changes={"lora.r": 8, "training.optimizer": "adamw_8bit"})
    said = str(caught.value)
    assert "lora.r: cannot change now: the checkpoint holds the weights of another adapter" in said
    assert "training.optimizer" in said
    assert "tui-lora train a --name NEW --set lora.r=8" in said
    assert not started


def test_without_a_checkpoint_all_may_change(
    tmp_path: Path, tiny_model: Path, rows: Path, started: list[BaseProcess]
) -> None:
    paths = sessions.create(tmp_path, "a", tiny_spec(tiny_model, rows))
    changes = {"lora.r": 8, "training.max_steps": 2, "lora.rank_pattern": {"q_proj": 2}}
    runs.resume(paths, changes=changes)
    assert workers.finish(started[-1]) == 0
    view = view_of(paths)
    assert (view.verdict, view.spec_changes) == ("done", changes)
