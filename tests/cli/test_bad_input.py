"""Bad input: a clear sentence, exit code 2, nothing left behind, no traceback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.pty_terminal import Terminal
from tests.shell import called, started


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder to run in, with a dataset, a spec, and a folder that is no model."""
    row = {"prompt": "How much?", "completion": "This much."}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 5)
    (tmp_path / "no-model").mkdir()
    (tmp_path / "no-model" / "notes.txt").write_text("nothing")
    (tmp_path / "wrong-key.yaml").write_text(
        "model: {id: no-model}\ndataset: {path: rows.jsonl}\nlora:\n  rnak: 8\n"
    )
    (tmp_path / "no-model.yaml").write_text("model: no-model\ndataset: rows.jsonl\n")
    (tmp_path / "missing-model.yaml").write_text("model: ./nowhere\ndataset: rows.jsonl\n")
    (tmp_path / "missing-data.yaml").write_text("model: no-model\ndataset: nowhere.jsonl\n")
    (tmp_path / "broken.yaml").write_text("model: {id: [\n")
    (tmp_path / "a-file").write_text("")
    return tmp_path


def surroundings(home: Path, sessions: str = "sessions") -> dict[str, Any]:
    return {
        "cwd": home,
        "environment": {
            "TUI_LORA_SESSIONS": str(home / sessions),
            "TUI_LORA_CONFIG": str(home / "config"),
            "TUI_LORA_CACHE": str(home / "cache"),
            "HF_HUB_OFFLINE": "1",
        },
    }


def run(
    home: Path, *arguments: str, sessions: str = "sessions"
) -> subprocess.CompletedProcess[str]:
    return called(*arguments, **surroundings(home, sessions))


def refused(done: subprocess.CompletedProcess[str], home: Path, sentence: str) -> None:
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    root = home / "sessions"
    assert not root.exists() or not list(root.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--preset", "quikstart"], "Did you mean quickstart?"),
        (["train", "wrong-key.yaml"], "wrong-key.yaml:4: lora.rnak: there is no such setting"),
        (["train", "missing-model.yaml"], "model.id"),
        (["train", "no-model.yaml"], "model.id"),
        (["train", "missing-data.yaml"], "there is no dataset"),
        (["train", "broken.yaml"], "broken.yaml:"),
        (["train", "nothing.yaml"], "there is no file nothing.yaml"),
        (["train", "no-such-session"], "there is no session no-such-session"),
        (["train", "no-model.yaml", "--name", "../escape"], "cannot name a session"),
        (["train", "no-model.yaml", "--name", "-x"], "cannot name a session"),
        (["train", "no-model.yaml", "--set", "lora.r=0"], "lora.r"),
        (["train", "no-model.yaml", "--set", "lora.rr=4"], "Did you mean r?"),
        (["train", "no-model.yaml", "--set", "lora.r"], "has no value"),
        (["train"], "give one of"),
        (["watch", "../../etc"], "cannot name a session"),
        (["watch", "nothing"], "there is no session nothing"),
        (["stop", "nothing"], "there is no session nothing"),
        (["chat", "base"], "base alone"),
        (["chat", "./nowhere", "--prompt", "x"], "nowhere"),
        (["chat", "x", "--seed", "99999999999"], "'--seed'"),
        (["chat", "x", "--temperature", "nan"], "'--temperature'"),
        (["chat", "x", "--strength", "nan"], "'--strength'"),
        (["data", "nowhere.jsonl"], "there is no dataset"),
        (["data", "a-file"], "a-file"),
        (["data", "rows.jsonl", "--task", "chess"], "task: must be"),
        (["data", "rows.jsonl", "--task", "kto"], "set task to sft"),
        (["data", "rows.jsonl", "--set", "dataset.columns=x"], "is no pair"),
        (["data", "rows.jsonl", "--row", "0"], "--row"),
        (["data", "rows.jsonl", "--row", "1"], "--model"),
        (["data", "rows.jsonl", "--model", "./nowhere"], "nowhere"),
        (["fly"], "No such command"),
        (["train", "--name"], "--name"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_a_sentence_and_exit_2(arguments: list[str], sentence: str, home: Path) -> None:
    before = {path.name for path in home.iterdir()}
    refused(run(home, *arguments), home, sentence)
    assert {path.name for path in home.iterdir()} - before <= {"sessions", "config", "cache"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "wrong-key.yaml"], "wrong-key.yaml:4: lora.rnak: there is no such setting"),
        (["train", "--name"], "--name"),
        ([], "there is no terminal to draw on"),
    ],
)
def test_a_shell_is_told_the_same(arguments: list[str], sentence: str, home: Path) -> None:
    refused(started(*arguments, **surroundings(home)), home, sentence)


def test_every_problem_at_once(home: Path) -> None:
    changes = ("--set", "lora.r=0", "--set", "training.learning_rate=9")
    done = run(home, "train", "no-model.yaml", *changes)
    assert "lora.r" in done.stderr
    assert "training.learning_rate" in done.stderr


def test_a_root_that_cannot_be_written(home: Path) -> None:
    done = run(home, "train", "no-model.yaml", sessions="a-file/sessions")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "--sessions" in done.stderr


def test_a_terminal_of_40_by_10(home: Path) -> None:
    environment = {
        "TUI_LORA_SESSIONS": str(home / "sessions"), "TUI_LORA_CONFIG": str(home / "config")
    }  # fmt: skip
    with Terminal(columns=40, rows=10, environment=environment) as terminal:
        assert terminal.wait() == 2
    said = terminal.output().decode()
    assert "40x10" in said
    assert "60x16" in said.replace("\r\n", "")


def test_an_empty_root_is_no_error(home: Path) -> None:
    assert json.loads(run(home, "ls", "--json").stdout) == []
    assert "no sessions" in run(home, "ls").stdout


def test_doctor_prints_json(home: Path) -> None:
    checks = json.loads(started("doctor", "--quick", "--json", **surroundings(home)).stdout)[
        "checks"
    ]
    assert {"name", "ok", "detail", "fix"} == checks[0].keys()


def test_doctor_writes_a_report_of_a_session_once(home: Path) -> None:
    session = home / "sessions" / "mine"
    session.mkdir(parents=True)
    (session / "run.yaml").write_text("model: no-model\ndataset: rows.jsonl\n")
    (session / "worker.log").write_text("it broke with hf_abcdefghijklmnop\n")
    asked = ("doctor", "--quick", "--report", "bug.txt", "--session", "mine")
    done = run(home, *asked)
    assert done.returncode == 0, done.stderr
    assert "bug.txt is written" in done.stdout
    written = (home / "bug.txt").read_text()
    assert "it broke with [removed]" in written
    assert "run.yaml" in written
    again = run(home, *asked)
    assert again.returncode == 2
    assert "already something" in again.stderr


def test_doctor_takes_a_file_only_for_a_report(home: Path) -> None:
    done = run(home, "doctor", "bug.txt")
    assert done.returncode == 2
    assert "--report" in done.stderr
