"""`tui-lora branch`: says how a branch begins before it starts it, and refuses what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded import done_session
from tui_lora.core.errors import UserError
from tui_lora.core.fields import put
from tui_lora.core.spec import parse_spec
from tui_lora.headless import branch as verb
from tui_lora.headless import verbs
from tui_lora.store import launch
from tui_lora.store.checkpoints import NEEDED, seal
from tui_lora.store.hooks import Unconfirmed
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_file import read_spec, to_yaml


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionPaths:
    monkeypatch.setattr(launch, "start_training", lambda *_, **__: 1)
    monkeypatch.setattr("tui_lora.store.branch.preflight", lambda *_, **__: ())
    monkeypatch.setattr("tui_lora.store.runs.preflight", lambda *_, **__: ())
    paths = done_session(tmp_path)
    beside = paths.checkpoints / ".saving"
    beside.mkdir(parents=True)
    for name in NEEDED:
        (beside / name).write_text("x")
    seal(beside, paths.checkpoints / "step-000200", step=200, tokens_seen=1)
    return paths


def branch(paths: SessionPaths, *changes: str, at: int | None = None) -> int:
    root = paths.folder.parent
    return verb.branch(root, paths.name, name="new", at=at, changes=[*changes], detach=True)


def test_the_newest_and_how_it_begins(
    first: SessionPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert branch(first, "training.epochs=9") == 0
    said = capsys.readouterr().out
    assert "It goes on exactly from step 200" in said
    assert verbs.ls(first.folder.parent, as_json=True) == 0
    listed = {row["name"]: row["parent"] for row in json.loads(capsys.readouterr().out)}
    assert listed == {first.name: None, "new": {"session": first.name, "step": 200}}


@pytest.mark.parametrize(
    ("at", "change", "why"),
    [(7, "training.epochs=9", "no checkpoint of step 7"), (200, "lora.r=9", "keeps its own")],
)
def test_what_cannot_be_is_refused(first: SessionPaths, at: int, change: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        branch(first, change, at=at)
    assert not (first.folder.parent / "new").exists()


def test_nothing_is_made_where_its_command_was_not_confirmed(
    first: SessionPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    data = read_spec(first.spec).model_dump(mode="json")
    first.spec.write_text(to_yaml(parse_spec(put(data, "hooks.on_finish", "beep"))))
    with pytest.raises(Unconfirmed):
        branch(first, "training.epochs=9")
    assert not (first.folder.parent / "new").exists()
    assert branch(first, "training.epochs=9", "hooks.on_finish=beep") == 0


def test_a_name_that_is_taken_is_refused_before_anything_is_promised(
    first: SessionPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    root = first.folder.parent
    with pytest.raises(UserError, match=f"there is already a session {first.name}"):
        verb.branch(root, first.name, name=first.name, at=200, changes=[], detach=True)
    assert capsys.readouterr().out == ""
