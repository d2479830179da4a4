"""`tui-lora chat` in a plain terminal, with a chat worker of our own on real pipes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.recorded import done_classifier, done_session
from tests.ui import fake_chat
from tui_lora.core.errors import UserError
from tui_lora.headless import conversation, talk
from tui_lora.store.adapter_labels import write_labels


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fake_chat.GATES, str(tmp_path / "gates"))
    monkeypatch.setattr(conversation, "start_chat", fake_chat.start_fake_chat)


def say(root: Path, *targets: str, prompt: str | None = None, as_json: bool = False) -> int:
    return talk.chat(
        root,
        list(targets),
        prompt=prompt,
        system=None,
        max_tokens=20,
        temperature=0.0,
        as_json=as_json,
    )


def test_a_classifier_gives_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done_classifier(tmp_path)
    assert say(tmp_path, "done", prompt="positive") == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "positive   83.3%"
    assert len(rows) == 3
    assert say(tmp_path, "done", prompt="neutral", as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["label"]) == ("done", "neutral")
    assert sum(chance["probability"] for chance in found["chances"]) == pytest.approx(1)


def test_of_many_labels_the_likeliest_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = done_classifier(tmp_path)
    write_labels(paths.adapter, tuple(f"label-{n:02}" for n in range(40)))
    assert say(tmp_path, "done", prompt="label-39") == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("label-39")
    assert rows[-1] == "(the likeliest of 40 labels; --json prints all)"
    assert say(tmp_path, "done", prompt="label-39", as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["chances"]) == 40


def test_lines_are_labelled_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done_classifier(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("neutral\n\nnegative\n"))
    assert say(tmp_path, "done", as_json=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["neutral", "negative"]


def test_a_classifier_is_asked_alone(tmp_path: Path) -> None:
    done_classifier(tmp_path)
    with pytest.raises(UserError, match="gives labels instead of answers"):
        say(tmp_path, "done", "base", prompt="hi")


def test_lines_are_answered_with_what_was_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = done_session(tmp_path)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
    monkeypatch.setattr("sys.stdin", io.StringIO("One\nTwo\n"))
    assert say(tmp_path, "done") == 0
    said = capsys.readouterr().out
    assert "(one), 1" in said
    assert "(two), 3" in said
