"""Answers as they should have been: rows of a file that training reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.spec import parse_spec
from tui_lora.store import corrections, preferences
from tui_lora.store.corrections import check_file, corrections_file, keep
from tui_lora.store.dataset import look_at
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sources import open_source, rows_of

SYSTEM = Turn(role="system", content="Be kind")
WHY = (SYSTEM, Turn(role="user", content="Why?\nTell me: 'ä'"))
HOW = (Turn(role="user", content="How?"),)


def rows(file: Path) -> list[list[str]]:
    lines = file.read_text().splitlines()
    return [[turn["content"] for turn in json.loads(line)["messages"]] for line in lines]


def test_rows_are_added_and_training_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "corrections.jsonl"
    assert (keep(file, WHY, "Because.").rows, keep(file, HOW, "So.\nAnd so.").rows) == (1, 2)
    spec = parse_spec({"model": "m", "dataset": {"path": str(file)}})
    looked = look_at(rows_of(open_source(spec.dataset)), spec.dataset, spec.task, path="rows")
    assert looked.reading is not None
    assert (looked.reading.format, looked.usable_rows) == ("messages", 2)
    assert file.stat().st_mode & 0o077 == 0


def test_another_answer_to_the_same_question_takes_its_place(tmp_path: Path) -> None:
    file = tmp_path / "corrections.jsonl"
    file.write_text('{"text": "theirs"}\nno json\n')
    keep(file, WHY, "Because.")
    keep(file, HOW, "So.")
    kept = keep(file, WHY, "Because of that.")
    assert (kept.was, kept.rows) == ("replaced", 4)
    first, second, *ours = file.read_text().splitlines()
    assert (first, second) == ('{"text": "theirs"}', "no json")
    assert [json.loads(line)["messages"][-1]["content"] for line in ours] == [
        "Because of that.",
        "So.",
    ]
    assert keep(file, WHY, "Because of that.").was == "there"
    # Without the system prompt it is another question.
    assert keep(file, WHY[1:], "Because.").was == "new"


def test_doubles_of_before_become_one(tmp_path: Path) -> None:
    file = tmp_path / "corrections.jsonl"
    for text in ("a", "b"):
        other = tmp_path / f"{text}.jsonl"
        keep(other, HOW, text)
        with file.open("a") as whole:
            whole.write(other.read_text())
    assert keep(file, HOW, "c").rows == 1
    assert rows(file) == [["How?", "c"]]


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "corrections.jsonl"
    file.write_text('{"messages": [{"role": "us')
    keep(file, HOW, "So.")
    assert file.read_text().splitlines()[1].startswith('{"messages"')


def test_a_large_file_is_only_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "LOOKED_THROUGH_BYTES", 10)
    file = tmp_path / "corrections.jsonl"
    keep(file, HOW, "So.")
    kept = keep(file, HOW, "Or so.")
    assert (kept.rows, kept.was) == (None, "new")
    assert "too large" in kept.words
    assert len(rows(file)) == 2


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "corrections.jsonl"
    with pytest.raises(UserError, match="teaches nothing"):
        keep(file, HOW, " \n")
    os.mkfifo(file)
    with pytest.raises(UserError, match="no file"):
        keep(file, HOW, "So.")
    with pytest.raises(UserError, match="a file called"):
        check_file(str(tmp_path / "rows.txt"))
    with pytest.raises(UserError, match="folder is not there"):
        check_file(str(tmp_path / "no" / "rows.jsonl"))
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"\xff\xfe\n")
    keep(other, HOW, "So.")
    with pytest.raises(UserError, match="no UTF-8"):
        keep(other, HOW, "Or so.")
    assert other.read_bytes().startswith(b"\xff\xfe\n")


def test_where_they_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("TUI_LORA_DATA", str(tmp_path / "data"))
    session = SessionPaths(tmp_path / "mine")
    assert corrections_file(session) == tmp_path / "mine" / "corrections.jsonl"
    assert corrections_file(None) == tmp_path / "data" / "corrections.jsonl"
    preferences.remember(corrections=str(tmp_path / "all.jsonl"))
    assert corrections_file(session) == corrections_file(None) == tmp_path / "all.jsonl"
