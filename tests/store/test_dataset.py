"""A first look at datasets as people have them: good ones, bad lines, monsters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.formats import Task
from tui_lora.core.spec import DatasetSpec
from tui_lora.store.dataset import MAX_PROBLEMS, Look, decided, look, look_at
from tui_lora.store.sources import SHIPPED, Row


def pair(number: int) -> str:
    return json.dumps({"prompt": f"question {number}", "completion": f"answer {number}"})


def seen(
    folder: Path,
    content: str | bytes,
    task: Task = "sft",
    name: str = "rows.jsonl",
    **settings: Any,
) -> Look:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    limit = settings.pop("limit", None)
    return look(DatasetSpec(path=str(file), **settings), task, max_rows=limit)


def test_a_clean_file(tmp_path: Path) -> None:
    found = seen(tmp_path, "\n".join(pair(n) for n in range(150)))
    assert (found.format, found.rows, found.usable_rows) == ("prompt_completion", 150, 150)
    assert found.columns == ["prompt", "completion"]
    assert found.files == (tmp_path / "rows.jsonl",)
    assert found.problems == []
    assert found.complete


def test_a_bad_line_among_many_is_named(tmp_path: Path) -> None:
    lines = [pair(n) for n in range(300)]
    lines[207] = '{"prompt": "torn'
    found = seen(tmp_path, "\n".join(lines))
    assert (found.rows, found.usable_rows) == (300, 299)
    assert [(p.line, p.message) for p in found.problems] == [
        (208, "is no JSON: Unterminated string at column 12."),
    ]


def test_a_row_that_cannot_be_learned_names_its_field(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "robot\x1b", "content": "q"}]},
    ]
    found = seen(tmp_path, "\n".join(json.dumps(row) for row in rows))
    assert (found.format, found.usable_rows) == ("messages", 1)
    assert found.problems[0].field == "messages[0].role"
    assert found.problems[0].line == 2
    assert "\x1b" not in str(found.problems[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00" * 3000, "is no JSON"),
        (b'{"prompt": "\xff", "completion": "x"}\n', "no UTF-8"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"7\n", "no known format"),
        (b'"text"\n', "no known format"),
        ('{"a": "x", "b": "y"}\n', "no known format"),
    ],
)
def test_rows_of_garbage_are_counted_not_raised(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    found = seen(tmp_path, content)
    assert (found.rows, found.usable_rows) == (1, 0)
    assert words in str(found.problems[0])
    assert found.format is None
    assert found.reason


def test_problems_are_kept_within_bounds(tmp_path: Path) -> None:
    found = seen(tmp_path, pair(1) + "\n" + "{\n" * (MAX_PROBLEMS + 50))
    assert found.rows == MAX_PROBLEMS + 51
    assert len(found.problems) == MAX_PROBLEMS


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 250])
def test_only_the_first_rows(tmp_path: Path, limit: int) -> None:
    content = "\n".join(pair(n) for n in range(300))
    found = seen(tmp_path, content, limit=limit)
    assert (found.rows, found.complete) == (limit, False)
    assert seen(tmp_path, content, limit=300).complete


def test_max_rows_are_rows_that_can_be_used(tmp_path: Path) -> None:
    content = "\n".join(["{", *(pair(n) for n in range(200))])
    found = seen(tmp_path, content, max_rows=120)
    assert (found.rows, found.usable_rows, found.complete) == (121, 120, False)
    found = seen(tmp_path, content, max_rows=5)
    assert (found.rows, found.usable_rows, found.complete) == (6, 5, False)


def test_what_the_user_says_is_taken(tmp_path: Path) -> None:
    found = seen(tmp_path, pair(1), format="messages", columns={"messages": "prompt"})
    assert (found.format, found.usable_rows) == ("messages", 0)
    assert found.problems[0].field == "prompt"
    mapped = {"text": "{prompt}: {completion}"}
    assert seen(tmp_path, pair(1), columns=mapped).format == "text"


def test_a_task_that_the_rows_cannot_teach(tmp_path: Path) -> None:
    table = "text,label\ngood,1\nbad,0\n"
    found = seen(tmp_path, table, "dpo", name="t.csv")
    assert found.format is None
    assert found.reason.endswith("cannot teach dpo; set task to classification")
    assert seen(tmp_path, table, "classification", name="t.csv").usable_rows == 2


def test_a_folder_says_what_it_left_out(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(f"{pair(1)}\n")
    (tmp_path / "notes.md").write_text("x")
    found = look(DatasetSpec(path=str(tmp_path), eval_split="test"), "sft", part="held_out")
    assert (found.splits, found.files) == (("train", "test"), (tmp_path / "test.jsonl",))
    assert "1 file of text and Markdown left out" in found.reason


def test_what_is_mixed_in_may_look_otherwise() -> None:
    data = DatasetSpec(path="x", columns={"prompt": "frage", "completion": "antwort"}, max_rows=1)
    same = [Row(n, n + 1, {"frage": "q", "antwort": "a"}) for n in range(3)]
    other = [Row(n, n + 1, {"instruction": "q", "output": "a"}) for n in range(3)]
    assert decided(same, data, "sft", mixed=True)[0] == decided(same, data, "sft")[0]
    assert look_at(other, data, "sft", path="y").usable_rows == 0
    found = look_at(other, data, "sft", path="y", mixed=True)
    assert (found.format, found.usable_rows, found.complete) == ("alpaca", 3, True)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_along_has_no_problem(name: str) -> None:
    found = look(DatasetSpec(path=name), "sft")
    assert found.problems == []
    assert found.usable_rows > 30
