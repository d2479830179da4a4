"""`tui-lora eval`: refused before anything starts, told as it goes, cancelled and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.recorded import done_session
from tests.ui import fake_evaluate
from tui_lora.core.errors import UserError
from tui_lora.headless import evaluate as verb
from tui_lora.store import evaluations, sessions
from tui_lora.store.evaluation_order import Wanted, parts_named
from tui_lora.store.paths import SessionPaths


@pytest.fixture
def run(tmp_path: Path) -> SessionPaths:
    paths = done_session(tmp_path)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
    return paths


@pytest.fixture
def gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    gates = tmp_path / "gates"
    gates.mkdir()
    monkeypatch.setenv(fake_evaluate.GATES, str(gates))
    monkeypatch.setattr(verb, "start_pipe_worker", fake_evaluate.start_fake_evaluate)
    return gates


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(metrics=("bleu",)), "no metric bleu"),
        (Wanted(metrics=("f1", "nowhere.py:judge")), "no such file"),
        (Wanted(metrics=("regex:(",)), "no regular expression"),
        (Wanted(checkpoint=7), "no checkpoint at step 7"),
        (Wanted(quantization="nf5"), "quantization.scheme"),
        (Wanted(data="nowhere/test.jsonl"), "no dataset nowhere/test.jsonl"),
        (Wanted(data=__file__), "no file of a kind that is known"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_process_starts(
    run: SessionPaths, wanted: Wanted, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "start_pipe_worker", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(UserError, match=says) as refused:
        verb.evaluate(run.folder.parent, run.name, wanted)
    assert refused.value.exit_code == 2
    if wanted.data is not None:
        assert refused.value.where == "--data"


def test_a_session_without_adapter_is_told_of_its_checkpoints(tmp_path: Path) -> None:
    paths = done_session(tmp_path)
    with pytest.raises(UserError, match="no adapter"):
        verb.evaluate(tmp_path, paths.name, Wanted())
    folder = paths.checkpoints / "step-000040"
    folder.mkdir(parents=True)
    manifest = {"step": 40, "tokens_seen": 9, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError) as refused:
        verb.evaluate(tmp_path, paths.name, Wanted())
    assert "--checkpoint 40" in refused.value.then


def test_parts_by_name() -> None:
    assert parts_named(None) == ("eval", "train", "general")
    assert parts_named(["general", "eval"]) == ("eval", "general")
    assert parts_named(["none"]) == ()
    with pytest.raises(UserError, match="no part held"):
        parts_named(["held"])


def test_the_result_is_printed_as_a_person_reads_it(
    run: SessionPaths, gates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.evaluate(run.folder.parent, run.name, Wanted(), force=True) == 0
    told = capsys.readouterr()
    assert "held-out rows: 8 of 40 rows, 80 trained tokens" in told.out
    assert "9.50 (9.00 to 10.0)" in told.out
    assert max(map(len, told.out.splitlines())) <= 120
    assert "exact McNemar test (right alone: base 0, tuned 8): p = 0.008" in told.out
    assert "cut at max length: 1 rows" in told.out
    # What rows hold is shown as it is.
    assert fake_evaluate.HOSTILE in told.out
    assert "4 of 8   2.00 rows/s   2.0 s left" in told.err


def test_as_json(run: SessionPaths, gates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = Wanted(metrics=("f1",), parts=("eval",))
    assert verb.evaluate(run.folder.parent, run.name, asked, as_json=True, force=True) == 0
    found = json.loads(capsys.readouterr().out)
    for side, value in (("base", 0.0), ("tuned", 1.0)):
        assert found[side]["perplexity"] == {"train": None, "eval": 9.5}
        assert found[side]["metrics"] == {"f1": value}
    assert Path(found["path"]).is_file()


@pytest.mark.parametrize(
    ("gate", "code", "says", "then"),
    [
        ("fail", 3, "memory ran out", "Free some."),
        ("die", 1, "9", "What was measured is kept; the same command goes on from there."),
        ("die-early", 1, "9", "Nothing was measured yet."),
    ],
)
def test_a_worker_that_fails(
    run: SessionPaths, gates: Path, gate: str, code: int, says: str, then: str
) -> None:
    (gates / gate).touch()
    with pytest.raises(UserError, match=says) as failed:
        verb.evaluate(run.folder.parent, run.name, Wanted(), force=True)
    assert failed.value.exit_code == code
    assert failed.value.then == then


def test_ctrl_c_keeps_what_was_measured(run: SessionPaths, gates: Path) -> None:
    (gates / "wait").touch()
    code = (
        "import sys\n"
        "from tests.ui import fake_evaluate\n"
        "from tui_lora.headless import evaluate as verb\n"
        "verb.start_pipe_worker = fake_evaluate.start_fake_evaluate\n"
        "from tui_lora.cli import main\n"
        "main()\n"
    )
    home = Path(__file__).parents[2]
    command = ["--sessions", str(run.folder.parent), "eval", run.name, "--force"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home)},
    )
    deadline = time.monotonic() + 60
    assert process.stderr is not None
    told = ""
    while "4 of 8" not in told:
        assert time.monotonic() < deadline
        told += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Cancelling" in err
    assert "goes on from there" in err
    assert "Cancelled: these figures" in out
    assert len(evaluations.partials(run)) == 1
    assert evaluations.newest(run) is None
    (gates / "wait").unlink()
    process = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home)},
        check=False,
    )
    assert process.returncode == 0
    assert "1 done before" in process.stderr
    assert evaluations.newest(sessions.find(run.folder.parent, run.name)) is not None
