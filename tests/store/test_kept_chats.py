"""Conversations that were kept: listed, searched, read, reopened, exported, deleted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import make_session
from tui_lora.core.chat_export import as_rows
from tui_lora.core.errors import UserError
from tui_lora.core.spec import parse_spec
from tui_lora.store import chat_export, sessions
from tui_lora.store.chats import ChatFile
from tui_lora.store.dataset import look_at
from tui_lora.store.kept_chats import Head, delete, heads, read_chat, search, snippet
from tui_lora.store.kept_voices import kept_base, reopened
from tui_lora.store.paths import SessionPaths, user_chats
from tui_lora.store.sources import open_source, rows_of

BASE = {"role": "assistant", "name": "base", "ended_by": "end"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_DATA", str(tmp_path / "data"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "sessions"
    folder.mkdir()
    return folder


def never(error: OSError) -> None:
    raise AssertionError(error)


def write(folder: Path, *messages: dict[str, Any]) -> Path:
    """A conversation as the Chat screen keeps it."""
    file = ChatFile(folder, never)
    for message in messages:
        file.add(**message)
    file.close()
    assert file.path is not None
    return file.path


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, "system": "", **more}


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {**BASE, "content": text, **more}


def deck() -> tuple[dict[str, Any], ...]:
    mine = {"name": "mine", "voice": "/gone/adapter"}
    return (
        user("Why?", system="Be kind", base={"model": "m"}, voices=[{"name": "/gone/adapter"}]),
        answer("Because.", message=0),
        answer("So", message=0, ended_by="length", **mine),
        answer("So it is.", message=0, **mine),
        user("And then?", system="Be kind", reference="Nothing."),
        answer("Cut he", message=1, ended_by="length"),
        answer("The end.", message=1, **mine),
    )


def test_what_is_said_again_takes_the_place_and_what_is_cut_is_gone(tmp_path: Path) -> None:
    path = write(
        tmp_path / "chats", *deck(), {"role": "cut", "content": "", "keep": 1}, user("Else?")
    )
    chat = read_chat(path)
    first, second = chat.transcript.exchanges
    assert [a.text for a in first.answers] == ["Because.", "So it is."]
    assert (first.sampling.system, second.question, second.answers) == ("Be kind", "Else?", [])
    assert chat.labels == {"base": "base", "/gone/adapter": "mine"}
    assert chat.bad == 0


@pytest.mark.parametrize(
    ("spoil", "bad"),
    [
        (b"", 0),
        (b"no json\n", 1),
        (b'[1]\n{"role": 3, "content": "x"}\n', 2),
        (b'{"role": "assistant", "content": "to nobody", "message": 7}\n', 1),
        (b'{"role": "cut", "content": "", "keep": -1}\n', 1),
        (b'{"role": "user", "content": "torn', 1),
        (b'{"role": "mood", "content": "of a later version"}\n', 0),
        (b"[" * 100_000 + b"\n", 1),
        (b"x" * (2 << 20) + b"\n", 1),
    ],
)
def test_lines_that_cannot_be_read_are_counted(tmp_path: Path, spoil: bytes, bad: int) -> None:
    path = write(tmp_path / "chats", user("Why?"), answer("Because."))
    with path.open("ab") as file:
        file.write(spoil)
    chat = read_chat(path)
    assert chat.bad == bad
    assert [e.question for e in chat.transcript.exchanges] == ["Why?"]


def test_those_of_all_sessions_and_of_none_are_listed_and_searched(root: Path) -> None:
    one, two = make_session(root, "one"), make_session(root, "two")
    write(one.chats, user("What is a Rank?"), answer("A number\nof rows."))
    write(two.chats, user("Something else", reference="a café"), answer("No."))
    write(user_chats(), user("alone"), answer('he said "yes"'))
    (one.chats / "exports").mkdir()
    (one.chats / "exports" / "x.jsonl").write_text("{}\n")
    outside = root.parent / "outside.jsonl"
    outside.write_text(json.dumps(user("secret")) + "\n")
    (two.chats / "link.jsonl").symlink_to(outside)

    found = heads(root)
    assert {(head.session, head.first, head.turns) for head in found} == {
        ("one", "What is a Rank?", 1),
        ("two", "Something else", 1),
        ("", "alone", 1),
    }

    def hits(text: str) -> list[str]:
        return [head.first for head in search(found, text)]

    assert hits("rank ROWS") == ["What is a Rank?"]
    assert hits("CAFÉ") == ["Something else"]
    assert hits('"yes"') == ["alone"]
    # What the lines are made of is none of what was said.
    assert hits("ended_by") == hits("assistant") == hits("rank café") == []
    assert snippet(read_chat(found[-1].path), "nowhere") == ""
    assert list(search(found, "a", lambda: False)) == []


def test_only_what_changed_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_session(root, "one")
    path = write(one.chats, user("first"))
    other = write(one.chats, user("second"))
    before = {head.path: head for head in heads(root)}
    with path.open("a") as file:
        file.write(json.dumps(answer("more")) + "\n")
    read: list[Path] = []
    monkeypatch.setattr(
        "tui_lora.store.kept_chats.read_chat", lambda path: read.append(path) or read_chat(path)
    )
    heads(root, before)
    assert read == [path] != [other]


def test_thousands_of_conversations_stay_quick(root: Path) -> None:
    one = make_session(root, "one")
    one.chats.mkdir(exist_ok=True)
    lines = "".join(json.dumps(message) + "\n" for message in deck())
    for number in range(1000):
        (one.chats / f"{number:04}.jsonl").write_text(lines)
    began = time.process_time()
    found = heads(root)
    listed = time.process_time()
    assert heads(root, {head.path: head for head in found}) == found
    assert list(search(found, "nobody said this")) == []
    searched = time.process_time()
    assert len(found) == 1000
    # A tenth of a millisecond each where nothing else runs.
    assert listed - began < 1
    assert searched - listed < 0.5


def test_a_conversation_that_has_grown_is_not_deleted(root: Path) -> None:
    one = make_session(root, "one")
    path = write(one.chats, user("first"))
    (head,) = heads(root)
    with path.open("a") as file:
        file.write(json.dumps(answer("more")) + "\n")
    with pytest.raises(UserError, match="has changed"):
        delete(head)
    delete(heads(root)[0])
    assert not path.exists()


# Reopening.


def tuned(root: Path, name: str) -> SessionPaths:
    paths = sessions.create(
        root, name, parse_spec({"model": {"id": "org/base"}, "dataset": {"path": "quickstart"}})
    )
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
    return paths


def said_by(*voices: dict[str, Any], model: str = "org/base") -> dict[str, Any]:
    return user("Why?", base={"model": model, "scheme": "nf4"}, voices=list(voices))


def test_a_session_that_was_moved_is_found_by_its_name(root: Path) -> None:
    paths = tuned(root, "mine")
    voice = {"name": "/old/box/mine/adapter", "label": "mine", "session": "mine"}
    chat = read_chat(write(paths.chats, said_by({**voice, "within": "adapter"})))
    found = reopened(root, chat)
    (target,) = found.targets
    assert (target.adapter, target.session) == (paths.adapter, paths)
    assert target.quantization.scheme == "nf4"
    assert found.missing == ()


@pytest.mark.parametrize("within", ["../../etc", "/etc", "nowhere"])
def test_nothing_outside_of_the_session_is_meant(root: Path, within: str) -> None:
    paths = tuned(root, "mine")
    voice = {"name": "/nowhere", "label": "mine", "session": "mine", "within": within}
    chat = read_chat(write(paths.chats, said_by(voice, model="/nowhere/model")))
    found = reopened(root, chat)
    assert found.targets == ()
    assert found.missing[0] == "mine: its files are not there any more."


def test_the_base_alone_comes_back_at_its_commit(root: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = {"model": "org/base", "scheme": "nf4", "revision": commit}
    chat = read_chat(write(user_chats(), user("Why?", base=model, voices=[])))
    (target,) = reopened(root, chat).targets
    assert (target.model.id, target.model.revision) == ("org/base", commit)
    assert target.quantization.scheme == "nf4"
    assert kept_base(target).revision == commit


def test_who_is_missing_is_told_and_the_others_come(root: Path) -> None:
    paths = tuned(root, "mine")
    gone = {"name": "/gone/adapter", "label": "gone"}
    there = {"name": str(paths.adapter), "label": "mine"}
    chat = read_chat(write(paths.chats, said_by(gone, there)))
    found = reopened(root, chat)
    assert [target.name for target in found.targets] == ["mine"]
    assert [words.split(":")[0] for words in found.missing] == ["gone"]


# Exports.


def test_markdown_has_everything_and_whose_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "chats", *deck())
    done = chat_export.export(path, read_chat(path), "md")
    text = done.path.read_text()
    assert done.path.parent == path.parent / "exports"
    assert text.startswith("# Why?\n")
    for part in ("**System prompt**\n\nBe kind", "**base** · cut at the limit\n\nCut he",
                 "**mine**\n\nSo it is.", "> Nothing."):  # fmt: skip
        assert part in text
    assert done.size_bytes == len(text.encode())


def test_rows_hold_what_was_answered_whole_and_training_reads_them(tmp_path: Path) -> None:
    path = write(tmp_path / "chats", *deck())
    chat = read_chat(path)
    done = chat_export.export(path, chat, "jsonl", str(tmp_path / "rows.jsonl"))
    assert done.rows == 2
    spec = parse_spec({"model": "m", "dataset": {"path": str(done.path)}})
    looked = look_at(rows_of(open_source(spec.dataset)), spec.dataset, spec.task, path="rows")
    assert looked.reading is not None
    assert (looked.reading.format, looked.usable_rows) == ("messages", 2)
    base, mine = as_rows(chat)
    assert [turn["content"] for turn in base["messages"]] == ["Be kind", "Why?", "Because."]
    assert [turn["role"] for turn in mine["messages"]] == ["system", *["user", "assistant"] * 2]
    assert as_rows(chat, "/gone/adapter") == [mine]


def test_each_system_prompt_has_a_row_of_its_own(tmp_path: Path) -> None:
    path = write(
        tmp_path / "chats",
        user("One", system="Be kind"),
        answer("1", message=0),
        user("Two", system="Be kind"),
        answer("2", message=1),
        # Drawn again, and told another thing for that.
        answer("two", message=1, sampled={"system": "Be short"}),
        user("Three", system=""),
        answer("3", message=2),
    )
    chat = read_chat(path)
    assert [[turn["content"] for turn in row["messages"]] for row in as_rows(chat)] == [
        ["Be kind", "One", "1"],
        ["Be short", "Two", "two"],
        ["Three", "3"],
    ]
    text = chat_export.export(path, chat, "md").path.read_text()
    told = [text.index(f"**System prompt**\n\n{words}") for words in ("Be kind", "Be short", "(no")]
    assert told == sorted(told)
    assert text.count("**System prompt**") == 3
    assert "**base** · another system prompt\n\ntwo" in text


def test_a_row_of_a_dataset_stands_alone_with_what_is_before_it_there(tmp_path: Path) -> None:
    opening = [{"role": "system", "content": "Be exact"}, {"role": "user", "content": "Zero"},
               {"role": "assistant", "content": "0"}]  # fmt: skip
    path = write(
        tmp_path / "chats",
        user("One", system="Be kind"),
        answer("1", message=0),
        user("Two", system="Be kind", opening=opening),
        answer("2", message=1),
        user("Three", system="Be kind"),
        answer("3", message=2),
        user("Four", system="Be kind", opening=[]),
        answer("4", message=3),
        user("Five", system="Be kind", opening=[{"role": "wizard"}]),
        answer("5", message=4),
    )
    chat = read_chat(path)
    assert chat.bad == 0
    assert [[turn["content"] for turn in row["messages"]] for row in as_rows(chat)] == [
        ["Be kind", "One", "1"],
        ["Be exact", "Zero", "0", "Two", "2", "Three", "3"],
        ["Be kind", "Four", "4"],
        ["Be kind", "Five", "5"],
    ]
    text = chat_export.export(path, chat, "md").path.read_text()
    assert "**Of the dataset, system**\n\nBe exact" in text
    assert text.count("Be exact") == 1
    assert search_finds(path, "exact zero")


def search_finds(path: Path, text: str) -> bool:
    head = Head(path, "", (0, 0))
    return list(search([head], text)) == [head]


def test_what_was_carried_on_keeps_its_speed(tmp_path: Path) -> None:
    """Seconds are those of the last part, so the tokens before it do not count."""
    said = answer("and so on", message=0, tokens=512, begun_tokens=256, seconds=10.0)
    chat = read_chat(write(tmp_path / "chats", user("Why?"), said))
    (found,) = chat.transcript.exchanges[0].answers
    assert (found.tokens, found.tokens_per_s) == (512, 25.6)


@pytest.mark.parametrize("seed", [-1, 2**31, "7", None])
def test_a_seed_that_cannot_be_drawn_from_is_none(tmp_path: Path, seed: object) -> None:
    chat = read_chat(write(tmp_path / "chats", user("Why?"), answer("So.", message=0, seed=seed)))
    assert chat.transcript.exchanges[0].answers[0].seed is None


def test_a_file_that_is_there_stays_and_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "chats", user("Why?", plain=True), answer("Because."))
    with pytest.raises(UserError, match="nothing in it to train on"):
        chat_export.export(path, read_chat(path), "jsonl")
    theirs = tmp_path / "theirs.md"
    theirs.write_text("mine")
    with pytest.raises(UserError, match="there is a file already"):
        chat_export.export(path, read_chat(path), "md", str(theirs))
    with pytest.raises(UserError, match="could not be written"):
        chat_export.export(path, read_chat(path), "md", str(tmp_path / "no" / "folder.md"))
    assert theirs.read_text() == "mine"
    first = chat_export.export(path, read_chat(path), "md")
    assert chat_export.export(path, read_chat(path), "md") == first
