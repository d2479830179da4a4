"""What a worker keeps of a run does not grow with it."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from tests.in_process import trained
from tests.workers import tiny_spec
from tui_lora.worker import trainer

pytestmark = pytest.mark.model


def test_a_long_run_keeps_no_more_than_a_short_one(
    tmp_path: Path, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders = []

    def evaluate(self: Any, *arguments: Any, **named: Any) -> Any:
        found = really(self, *arguments, **named)
        if self.state.global_step in (2, 16):
            gc.collect()
            loaders.append(sum(isinstance(one, DataLoader) for one in gc.get_objects()))
        return found

    really = trainer.Session.evaluate
    monkeypatch.setattr(trainer.Session, "evaluate", evaluate)
    monkeypatch.setattr(trainer, "LOGS_KEPT", 5)
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=16, evaluation__every_steps=2,
        evaluation__save_every_steps=16,
    )  # fmt: skip
    _, paths = trained(tmp_path, "run", spec)
    assert len(loaders) == 2
    assert loaders[0] == loaders[1]
    state = paths.checkpoints / "step-000016" / "trainer_state.json"
    kept = json.loads(state.read_text())["log_history"]
    assert len(kept) == 5
    assert any("loss" in entry for entry in kept)
