"""`tui-lora queue` and `train --queue`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded import make_session
from tui_lora.core.errors import UserError
from tui_lora.core.queue import Queued, Refused
from tui_lora.core.spec import parse_spec
from tui_lora.headless import queue as verbs
from tui_lora.headless.verbs import train
from tui_lora.store import lock, runs, sessions
from tui_lora.store import queue as store_queue
from tui_lora.store.hooks import Unconfirmed
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import read_queue, say
from tui_lora.store.spec_file import to_yaml


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sessions that wait behind one that runs."""
    runs_now = {"runs"}

    def start(paths: SessionPaths, **_: object) -> int:
        runs_now.add(paths.name)
        return 1

    monkeypatch.setattr(lock, "holder", lambda path: 1 if path.parent.name in runs_now else None)
    monkeypatch.setattr(runs.launch, "start_training", start)
    monkeypatch.setattr(runs, "preflight", lambda *a, **_: ())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    root = tmp_path / "sessions"
    for name in ("runs", "a", "b", "c"):
        make_session(root, name)
    for name in ("a", "b"):
        say(root, Queued, name, card="0")
    return root


def order(root: Path) -> list[str]:
    return [entry.name for entry in read_queue(root).waiting]


def test_it_is_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say(root, Refused, "c", why="the model is \x1b[31mgone.")
    verbs.show(root, as_json=False)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "card 0: runs runs"
    assert rest[0].startswith("   1st  a  since ")
    assert rest[-1] == "c could not start: the model is [31mgone."
    verbs.show(root, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["place"], row["running"]) for row in shown["waiting"]] == [
        ("a", 1, "runs"),
        ("b", 2, "runs"),
    ]
    assert shown["refused"][0]["name"] == "c"


def test_add_move_remove_start(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no session nobody"):
        verbs.add(root, ["c", "nobody"])
    assert order(root) == ["a", "b"]
    verbs.add(root, ["c"])
    verbs.move(root, "c", ["first"])
    verbs.move(root, "a", ["down"])
    assert order(root) == ["c", "b", "a"]
    with pytest.raises(UserError, match="one of --first"):
        verbs.move(root, "c", ["first", "last"])
    verbs.remove(root, "b")
    capsys.readouterr()
    assert verbs.start(root) == 0
    assert capsys.readouterr().out == "runs runs on card 0.\n"
    assert order(root) == ["c", "a"]


def test_one_with_a_command_says_how_to_confirm_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can be asked in a pipe; who types the command has read it."""
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    hook = {"model": "m", "dataset": str(tmp_path / "d"), "hooks": {"on_finish": "beep twice"}}
    for name in ("old", "other"):
        sessions.create(root, name, parse_spec(hook))
    with pytest.raises(Unconfirmed) as refused:
        verbs.add(root, ["old"])
    assert "tui-lora train old --queue --set hooks.on_finish='beep twice'" in refused.value.then
    assert order(root) == ["a", "b"]
    say(root, Queued, "other", card="7")
    assert store_queue.start_next(root, "7") is None
    assert "put it in again" in read_queue(root).refused["other"]
    asked = {"preset": None, "detach": False, "queued": True}
    with pytest.raises(UserError, match="would wait with the settings"):
        train(root, what="old", name=None, changes=["hooks.on_finish=none"], **asked)
    train(root, what="old", name=None, changes=["hooks.on_finish=beep twice"], **asked)
    verbs.add(root, ["other"])
    assert order(root) == ["a", "b", "old", "other"]


def test_a_run_that_waits_is_made_and_not_started(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "mine.yaml"
    spec.write_text(to_yaml(parse_spec({"model": "m", "dataset": "d"})))
    asked = {"preset": None, "detach": False, "queued": True}
    assert train(root, what=str(spec), name=None, changes=["lora.r=4"], **asked) == 0
    assert "mine waits for its turn: 2 before it." in capsys.readouterr().out
    assert order(root) == ["a", "b", "mine"]
    train(root, what="c", name=None, changes=[], **asked)
    train(root, what="c", name="like-c", changes=["lora.r=4"], **asked)
    assert order(root)[2:] == ["mine", "c", "like-c"]
    with pytest.raises(UserError, match="would wait with the settings"):
        train(root, what="c", name=None, changes=["lora.r=4"], **asked)
    assert not sessions.read_worker(SessionPaths(root / "mine"))
