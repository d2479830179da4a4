"""`tui-lora chat` in a plain terminal, with a chat worker of our own on real pipes."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models import write_model
from tests.recorded import done_classifier, done_session
from tests.ui import fake_chat
from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec
from tui_lora.headless import conversation, talk
from tui_lora.headless.talk import Manner
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.adapters import ChatTarget


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fake_chat.GATES, str(tmp_path / "gates"))
    monkeypatch.setattr(conversation, "start_chat", fake_chat.start_fake_chat)


def say(root: Path, *targets: str, as_json: bool = False, **given: Any) -> int:
    return talk.chat(root, list(targets), manner=Manner(as_json=as_json), **given)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sessions folder with an adapter called done."""
    paths = done_session(tmp_path)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
    return tmp_path


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
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("One\nTwo\n"))
    assert say(run, "done") == 0
    said = capsys.readouterr().out
    assert "(one), 1" in said
    assert "(two), 3" in said


def test_a_file_of_prompts_is_answered_line_by_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"prompt": "First"},
        {"messages": [{"role": "system", "content": "Own."}, {"role": "user", "content": "Next"}]},
        {"prompt": "Third", "system": "Be kind."},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    given = {"prompt_file": str(file), "system": "Of all."}
    assert say(run, "done", "base", as_json=True, **given) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(t["line"], t["name"], t["prompt"], t["text"]) for t in told] == [
        (1, "done", "First", "(first), 2"),
        (1, "base", "First", "FIRST"),
        (3, "done", "Next", "(next), 2"),
        (3, "base", "Next", "NEXT"),
        (5, "done", "Third", "(third), 2"),
        (5, "base", "Third", "THIRD"),
    ]
    plain = tmp_path / "prompts.txt"
    plain.write_text('One\r\n{"prompt": 1}\n')
    assert say(run, "done", prompt_file=str(plain)) == 0
    said = capsys.readouterr().out
    assert "(one), 1" in said
    assert '({"prompt": 1}), 1' in said


@pytest.mark.parametrize(
    ("name", "text", "where", "says"),
    [
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": ""}\n', ":2", "neither a prompt nor messages"),
        ("p.jsonl", b'\n{"prompt"\nno\n', ":2", "it is no JSON. Line 3 is bad too."),
        ("p.jsonl", b"[1]\n" * 9, ":1", "8 more lines are bad, 2, 3, 4, 5, 6 among them"),
        ("p.jsonl", b'{"prompt": "a", "messages": []}', ":1", "one of them is meant"),
        ("p.jsonl", b'{"messages": [{"role": "tool", "content": "x"}]}', ":1", "its messages"),
        ("p.jsonl", b'{"messages": [{"role": "assistant", "content": "x"}]}', ":1", "the user's"),
        ("p.txt", b"good\n\xff\xfe\n", ":2", "it is not UTF-8"),
        ("p.txt", b" \n", "p.txt", "there is no prompt in it"),
        ("gone.txt", None, "gone.txt", "cannot be read"),
    ],
)
def test_a_bad_file_of_prompts_is_refused_before_anything_is_loaded(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: bytes | None,
    where: str,
    says: str,
) -> None:
    def start(target: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(conversation, "start_chat", start)
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(UserError, match=says) as caught:
        say(run, "done", prompt_file=str(tmp_path / name))
    assert caught.value.exit_code == 2
    assert str(caught.value.where).endswith(where)


def test_two_ways_to_ask_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match="give one"):
        say(run, "done", prompt="a", prompt_file="b")


STOPPED = """
import sys
from pathlib import Path
from tests.ui import fake_chat
from tui_lora.headless import conversation
conversation.start_chat = fake_chat.start_fake_chat
from tui_lora.cli import main
sys.argv = ["tui-lora", "--sessions", sys.argv[1], "chat", "done"]
main()
"""


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_stops_the_answer_and_a_second_the_program(run: Path, twice: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("slow\n")
    process.stdin.flush()
    said = ""
    while "word3 " not in said:
        said += process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    if twice:
        process.stdin.write("slow\n")
        process.stdin.flush()
        said = ""
        while "word3 " not in said:
            said += process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(60) == 130
        return
    rest, _ = process.communicate("Another\n", timeout=60)
    assert process.returncode == 0
    assert "(stopped)" in rest
    assert "(another), 3" in rest


def test_a_merged_model_stands_beside_the_adapters(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", num_hidden_layers=2, num_attention_heads=2)
    merged = write_model(tmp_path / "merged", num_hidden_layers=2, num_attention_heads=2)
    other = write_model(tmp_path / "other", num_hidden_layers=3, num_attention_heads=2)
    tuned = ChatTarget("tuned", ModelSpec(id=str(base)), adapter=tmp_path / "adapter")
    beside = ChatTarget("merged", ModelSpec(id=str(merged)))
    found = conversation.together([beside, tuned])
    assert [one.whole for one in found] == [merged, None]
    assert {one.base for one in found} == {tuned.base}
    alone = conversation.together([beside])
    assert alone == [beside]
    with pytest.raises(UserError, match="3 layers, and the base has 2"):
        conversation.together([tuned, ChatTarget("other", ModelSpec(id=str(other)))])


def test_one_base_in_two_precisions_is_two_bases() -> None:
    one = ChatTarget("one", ModelSpec(id="m"), adapter=Path("a"))
    two = ChatTarget("two", ModelSpec(id="m", revision="v2"), adapter=Path("b"))
    with pytest.raises(UserError, match="m main auto none and m v2 auto none"):
        conversation.together([one, two])
