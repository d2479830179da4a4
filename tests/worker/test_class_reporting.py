"""The report of a classifier's evaluation on a disk that does not take it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import workers
from tests.workers import tiny_spec, view_of
from tui_lora.core.status import Status
from tui_lora.store import class_reports, sessions

pytestmark = pytest.mark.model


def test_the_run_goes_on_without_it(tmp_path: Path, tiny_model: Path) -> None:
    """Said once; the loss and the figures of each evaluation stand in the log."""
    rows = tmp_path / "rows.jsonl"
    texts = [{"text": f"alpha {n}", "label": "ab"[n % 2]} for n in range(20)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in texts))
    spec = tiny_spec(
        tiny_model, rows, task="classification", training__max_steps=3,
        dataset__eval_share=0.3, evaluation__every_steps=1,
    )  # fmt: skip
    paths = sessions.create(tmp_path / "root", "sorts", spec)
    paths.evaluations.rmdir()
    paths.evaluations.write_text("no folder")
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    assert sessions.status_of(paths) is Status.DONE
    assert class_reports.newest(paths) is None
    told = [line.text for line in view_of(paths).log if "which labels were taken" in line.text]
    assert len(told) == 1
    assert told[0].startswith("which labels were taken for which at step 0 could not be written")
    steps = [found.step for found in sessions.evaluations(paths)]
    assert steps == [0, 1, 2, 3]
