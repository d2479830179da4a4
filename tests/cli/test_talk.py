"""`tui-lora chat` in a plain terminal, with a chat worker of our own on real pipes."""

from __future__ import annotations

import io
import json
import os
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
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import ModelSpec
from tui_lora.headless import conversation, talk
from tui_lora.headless.talk import Manner
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.adapters import ChatTarget


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fake_chat.GATES, str(tmp_path / "gates"))
    monkeypatch.setattr(conversation, "start_chat", fake_chat.start_fake_chat)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused is refused before anything is loaded."""

    def start(target: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(conversation, "start_chat", start)


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
        ("p.jsonl", b'{"prompt": "a", "system": 5}', ":1", "its system is no text"),
        (
            "p.jsonl",
            b'{"messages": [{"role": "user", "content": "x"}], "system": "S"}',
            ":1",
            "the system prompt is the first of the messages",
        ),
        (
            "p.jsonl",
            b'{"messages": [{"role": "user", "content": " "}]}',
            ":1",
            "its last message says nothing",
        ),
        ("p.txt", b"good\n\xff\xfe\n", ":2", "it is not UTF-8"),
        ("p.txt", b" \n", "p.txt", "there is no prompt in it"),
        ("gone.txt", None, "gone.txt", "cannot be read"),
    ],
)
def test_a_bad_file_of_prompts_is_refused_before_anything_is_loaded(
    run: Path,
    tmp_path: Path,
    no_worker: None,
    name: str,
    text: bytes | None,
    where: str,
    says: str,
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(UserError, match=says) as caught:
        say(run, "done", prompt_file=str(tmp_path / name))
    assert caught.value.exit_code == 2
    assert str(caught.value.where).endswith(where)


def lines(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def rows(capsys: pytest.CaptureFixture[str], *keys: str) -> list[tuple[Any, ...]]:
    """Of each line of JSON these fields, as far as it has them."""
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [tuple(row.get(key) for key in keys) for row in told]


def test_a_line_that_fails_ends_neither_the_others_nor_what_was_said(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(monkeypatch, "One\nrefused\n\nTwo\n")
    assert say(run, "done", as_json=True) == 1
    assert rows(capsys, "line", "prompt", "text", "error") == [
        (1, "One", "(one), 1", None),
        (2, "refused", None, fake_chat.REFUSED),
        (4, "Two", "(two), 3", None),
    ]
    lines(monkeypatch, "refused\nTwo\n")
    assert say(run, "done") == 1
    said = capsys.readouterr()
    assert "line 1: memory ran out." in said.err
    assert "\n2  Two\n\ndone\n(two), 1\n" in said.out


def test_a_full_context_begins_a_new_conversation_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = Path(os.environ[fake_chat.GATES])
    gates.mkdir()
    (gates / "context").write_text("3")
    lines(monkeypatch, "One\nTwo\nThree\nFour\n")
    assert say(run, "done", as_json=True) == 0
    said = capsys.readouterr()
    told = [json.loads(line) for line in said.out.splitlines()]
    assert [row["text"] for row in told] == ["(one), 1", "(two), 3", "(three), 1", "(four), 3"]
    assert [row.get("new_conversation") for row in told] == [None, None, True, None]
    words = "done: the conversation has 5 turns, and the context is full."
    assert f"{words} A new one begins with this message." in said.err
    # The second with a system prompt is one too many, and alone it is too.
    (gates / "context").write_text("1")
    lines(monkeypatch, "One\nTwo\n")
    assert say(run, "done", as_json=True, system="Be kind.") == 1
    assert [error[:28] for (error,) in rows(capsys, "error")] == [
        "the conversation has 2 turns"
    ] * 2


def test_a_row_that_fails_does_not_end_the_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("refused\nNext\n")
    assert say(run, "done", as_json=True, prompt_file=str(file)) == 1
    assert rows(capsys, "line", "text", "error") == [
        (1, None, fake_chat.REFUSED),
        (2, "(next), 1", None),
    ]
    with pytest.raises(UserError, match="memory ran out") as alone:
        say(run, "done", prompt="refused")
    assert alone.value.exit_code == 1


def test_a_dead_worker_ends_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(monkeypatch, "die\nTwo\n")
    with pytest.raises(UserError, match="the card fell off the bus"):
        say(run, "done")


def test_a_text_that_is_carried_on_stands_alone(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(monkeypatch, "Once\nTwice\n")
    assert talk.chat(run, ["done"], manner=Manner(plain=True)) == 0
    assert capsys.readouterr().out.count("and plain, 1") == 2


def test_a_file_of_texts_is_labelled_line_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done_classifier(tmp_path)
    file = tmp_path / "texts.txt"
    file.write_text("neutral\n\nrefused\nnegative\n")
    assert say(tmp_path, "done", as_json=True, prompt_file=str(file)) == 1
    assert rows(capsys, "line", "prompt", "label", "error") == [
        (1, "neutral", "neutral", None),
        (3, "refused", None, fake_chat.REFUSED),
        (4, "negative", "negative", None),
    ]
    assert say(tmp_path, "done", prompt_file=str(file)) == 1
    said = capsys.readouterr()
    assert "\n1  neutral\nneutral    83.3%\n" in said.out
    assert "line 3: memory ran out." in said.err


@pytest.mark.parametrize(
    ("system", "manner", "flag"),
    [
        ("Be kind.", Manner(), "--system"),
        (None, Manner(plain=True), "--plain"),
        (None, Manner(strength=0.5), "--strength"),
        (None, Manner(Sampling(temperature=1.0)), "--temperature"),
    ],
)
def test_what_only_an_answer_has_is_refused_for_a_classifier(
    tmp_path: Path, no_worker: None, system: str | None, manner: Manner, flag: str
) -> None:
    done_classifier(tmp_path)
    with pytest.raises(UserError, match=f"gives labels.*{flag}"):
        talk.chat(tmp_path, ["done"], prompt="x", system=system, manner=manner)


def test_more_than_a_text_is_refused_for_a_classifier(tmp_path: Path, no_worker: None) -> None:
    done_classifier(tmp_path)
    file = tmp_path / "texts.jsonl"
    file.write_text('{"prompt": "neutral"}\n{"prompt": "x", "system": "Be kind."}\n')
    with pytest.raises(UserError, match="reads one text") as refused:
        say(tmp_path, "done", prompt_file=str(file))
    assert refused.value.where.endswith("texts.jsonl:2")


def test_a_prompt_with_nothing_in_it_is_refused(run: Path, no_worker: None) -> None:
    with pytest.raises(UserError, match="there is no question to answer") as refused:
        say(run, "done", prompt=" \n")
    assert refused.value.where == "--prompt"


def test_json_stays_json_where_somebody_types(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(monkeypatch, "One\nTwo\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert say(run, "done", as_json=True) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["prompt"] for line in said.out.splitlines()] == ["One", "Two"]
    assert "Ctrl-D ends" in said.err
    assert said.err.count("you  ") == 3


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
