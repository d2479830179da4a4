"""A worker that goes on with what it was last at work with, and with nothing else unless told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import workers
from tests.faults.blows import DieAtName
from tests.stopped import edit
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.events import ChangesRefused, PhaseStarted
from tui_lora.store import sessions
from tui_lora.store.changed_since import changed_since
from tui_lora.store.paths import SessionPaths
from tui_lora.store.resolved import read_resolved

pytestmark = pytest.mark.model


def go_on(paths: SessionPaths, *accept: str) -> tuple[int, str]:
    """The exit code, and what the log and the last word say of the attempt."""
    lines = len(paths.events.read_bytes().splitlines())
    more = ("--accept", json.dumps(accept)) if accept else ()
    code = workers.finish(workers.start(paths, more=more))
    result = sessions.read_result(paths)
    assert result is not None
    said = paths.events.read_text().splitlines()[lines:]
    return code, "\n".join([*said, result.message])


def test_a_run_goes_on_with_what_it_began_with(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(rows.read_bytes())
    paths = sessions.create(tmp_path, "a", tiny_spec(tiny_model, file))
    process = workers.start(paths)
    wait_for(paths, lambda view: bool(view.checkpoint_steps))
    workers.kill(process)
    assert read_resolved(paths)["device"] == ""
    assert changed_since(paths, devices="cpu") == ()

    # Edited by hand: refused before anything is loaded, whoever started the worker.
    edit(paths, "lora.r", 8)
    code, said = go_on(paths, "all")
    assert code == 1
    assert "lora.r: 4 → 8 (the checkpoint holds the weights of another adapter)" in said
    assert PhaseStarted.type not in said
    edit(paths, "lora.r", 4)

    file.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:30]))
    code, said = go_on(paths)
    assert code == 1
    assert "are not those that this run began with" in said
    assert "tui-lora resume a --accept-changes" in said
    assert ChangesRefused.type in said
    assert '"loading ' + str(tiny_model) not in said
    assert [one.what for one in changed_since(paths, devices="cpu")] == ["dataset.path"]

    code, said = go_on(paths, "dataset.path", "rows")
    assert code == 0
    assert "changed since, accepted: dataset.path" in said
    assert "which was accepted" in said
    assert view_of(paths).verdict == "done"
    assert changed_since(paths, devices="cpu") == ()


def test_what_was_accepted_holds_for_who_dies_before_a_checkpoint(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    """The next one goes on from the same checkpoint with the same rows, and asks nothing again."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(rows.read_bytes())
    spec = tiny_spec(tiny_model, file, dataset__eval_share=0, training__max_steps=4)
    paths = sessions.create(tmp_path, "a", spec)
    blow = DieAtName("step-000004")
    assert workers.finish(workers.start(paths, first=blow)) == -9
    file.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:30]))
    accept = ("--accept", json.dumps(["dataset.path", "rows"]))
    assert workers.finish(workers.start(paths, first=blow, more=accept)) == -9
    assert changed_since(paths, devices="cpu") == ()
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    view = view_of(paths)
    assert (view.attempt, view.resumed_from, view.verdict) == (3, 2, "done")
