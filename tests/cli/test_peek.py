"""`tui-lora peek`: what is kept, and a message to a worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import peeked
from tests.obedient import worker
from tests.recorded import done_session, make_session, opening, steps, write
from tui_lora.core.errors import UserError
from tui_lora.headless import peek as verb
from tui_lora.store.paths import SessionPaths


@pytest.fixture
def done(tmp_path: Path) -> SessionPaths:
    paths = done_session(tmp_path)
    list(peeked.asked(paths))
    return paths


def peek(paths: SessionPaths, prompt: str | None = None, *, as_json: bool = False) -> int:
    root = paths.folder.parent
    return verb.peek(root, paths.name, prompt=prompt, system="", as_json=as_json)


def test_what_was_answered_is_printed_by_question(
    done: SessionPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert peek(done) == 0
    said = capsys.readouterr().out
    assert said.index("prompt: Who are you?") < said.index("held out: What is [/INST] alpha?")
    assert "  step 100   (7 tokens, 2.0 s, 3.50 tok/s)\n    I am a small helpful" in said
    assert "  base   (2 tokens, 2.0 s, 1.00 tok/s)\n    A letter.\n" in said
    assert "  reference\n    It scales the adapter.\n" in said
    assert peek(done, as_json=True) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert [one["step"] for one in first["answers"]] == [0, 100, 200]
    assert (second["from"], second["base"]["text"]) == ("held_out", "A letter.")


def test_a_classifier_s_are_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = done_session(tmp_path, task="classification")
    peeked.keep(paths, [peeked.sorted_into(100, ("negative", 0.75), ("positive", 0.25))])
    assert peek(paths) == 0
    assert "  step 100   negative 75.0%   positive 25.0%" in capsys.readouterr().out


def test_none_and_nobody_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = done_session(tmp_path)
    assert peek(paths) == 0
    assert "In the next run: --set" in capsys.readouterr().out
    with pytest.raises(UserError, match="not running") as refused:
        peek(paths, "Who are you?")
    assert "tui-lora chat done" in refused.value.then
    with pytest.raises(UserError, match="no question"):
        peek(paths, "  ")


@pytest.mark.screens
@pytest.mark.parametrize("as_json", [False, True])
def test_a_message_is_asked_and_its_answer_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    paths = make_session(tmp_path, "run")
    write(paths, opening(400), steps(1, 250, 400))
    with worker(paths):
        assert peek(paths, "Are you there?", as_json=as_json) == 0
    said = capsys.readouterr()
    assert "answered at the end of the step" in said.err
    if as_json:
        found = json.loads(said.out)
        assert [one["text"] for one in found["answers"]] == ["I am tuned."]
        assert found["base"]["text"] == "I am the base."
    else:
        assert said.out.startswith("step 250   (3 tokens")
        assert "I am the base." in said.out
