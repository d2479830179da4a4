"""What a session's next attempt trains with: run.yaml and what was changed since."""

from pathlib import Path

import pytest

from tests.store.test_sessions import write_events
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, SpecChanged
from tui_lora.core.spec import RunSpec
from tui_lora.store import sessions
from tui_lora.store.spec_now import spec_now


def test_changes_add_up_and_run_yaml_stays(tmp_path: Path) -> None:
    spec = RunSpec.model_validate({"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}})
    paths = sessions.create(tmp_path, "a", spec)
    before = paths.spec.read_bytes()
    write_events(
        paths,
        AttemptStarted(attempt=1, pid=1),
        SpecChanged(changes={"training.micro_batch": 2, "training.accumulation": 8}),
        AttemptStarted(attempt=2, pid=2),
        SpecChanged(changes={"training.micro_batch": 1}),
    )
    found = spec_now(paths, {"training.max_length": 512}).training
    assert (found.micro_batch, found.accumulation, found.max_length) == (1, 8, 512)
    assert paths.spec.read_bytes() == before


def test_a_change_that_cannot_be_is_refused(tmp_path: Path) -> None:
    spec = RunSpec.model_validate({"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}})
    paths = sessions.create(tmp_path, "a", spec)
    with pytest.raises(UserError, match="micro_batch"):
        spec_now(paths, {"training.micro_batch": 0})
