"""Dataset files as people have them: BOMs, CRLF, bad lines, monsters."""

import json
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.store.dataset import MAX_PROBLEMS, SHIPPED, check_file, dataset_file, look, rows_in


def pair(number: int) -> str:
    return json.dumps({"prompt": f"question {number}", "completion": f"answer {number}"})


def write(folder: Path, content: str | bytes, name: str = "rows.jsonl") -> str:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


def test_a_clean_file(tmp_path: Path) -> None:
    found = look(write(tmp_path, "\n".join(pair(n) for n in range(150))))
    assert (found.format, found.rows, found.usable_rows) == ("prompt_completion", 150, 150)
    assert found.columns == ["prompt", "completion"]
    assert found.problems == []
    assert found.complete


def test_bom_crlf_and_blank_lines(tmp_path: Path) -> None:
    text = "\ufeff" + pair(1) + "\r\n\r\n  \r\n" + pair(2) + "\r\n"
    path = write(tmp_path, text)
    found = look(path)
    assert (found.rows, found.usable_rows) == (2, 2)
    assert [row.line for row in rows_in(Path(path))] == [1, 4]


def test_a_bad_line_among_many_is_named(tmp_path: Path) -> None:
    lines = [pair(n) for n in range(300)]
    lines[207] = '{"prompt": "torn'
    found = look(write(tmp_path, "\n".join(lines)))
    assert (found.rows, found.usable_rows) == (300, 299)
    assert [(p.line, p.message) for p in found.problems] == [
        (208, "is no JSON: Unterminated string at column 12."),
    ]


def test_a_row_that_cannot_be_learned_names_its_field(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "robot\x1b", "content": "q"}]},
    ]
    found = look(write(tmp_path, "\n".join(json.dumps(row) for row in rows)))
    assert (found.format, found.usable_rows) == ("messages", 1)
    assert found.problems[0].field == "messages[0].role"
    assert found.problems[0].line == 2
    assert "\x1b" not in str(found.problems[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00" * 3000, "is no JSON"),
        (b'{"prompt": "\xff", "completion": "x"}\n', "not UTF-8"),
        (b"[" * 100_000 + b"\n", "is no JSON"),
        (b"7\n", "no known format"),
        (b'"text"\n', "no known format"),
        ('{"text": "only"}\n', "no known format"),
    ],
)
def test_rows_of_garbage_are_counted_not_raised(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    found = look(write(tmp_path, content))
    assert (found.rows, found.usable_rows) == (1, 0)
    assert words in str(found.problems[0])
    assert found.format is None
    assert found.reason


def test_a_line_of_20_mb_is_skipped(tmp_path: Path) -> None:
    monster = b'{"prompt": "' + b"x" * (20 << 20) + b'", "completion": "y"}\n'
    path = write(tmp_path, pair(1).encode() + b"\n" + monster + pair(3).encode())
    found = look(path)
    assert (found.rows, found.usable_rows) == (3, 2)
    assert (found.problems[0].line, found.problems[0].message) == (2, "is longer than 16 MB.")
    assert [(row.number, row.line) for row in rows_in(Path(path))] == [(0, 1), (1, 2), (2, 3)]


def test_problems_are_kept_within_bounds(tmp_path: Path) -> None:
    found = look(write(tmp_path, pair(1) + "\n" + "{\n" * (MAX_PROBLEMS + 50)))
    assert found.rows == MAX_PROBLEMS + 51
    assert len(found.problems) == MAX_PROBLEMS


def test_only_the_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(pair(n) for n in range(300)))
    for limit in (1, 99, 100, 101, 250):
        found = look(path, max_rows=limit)
        assert (found.rows, found.complete) == (limit, False)
    assert look(path, max_rows=300).complete


def test_a_format_that_was_said_is_taken(tmp_path: Path) -> None:
    found = look(write(tmp_path, pair(1)), format="messages")
    assert (found.format, found.usable_rows) == ("messages", 0)
    assert found.problems[0].field == "messages"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"[{pair(1)}, {pair(2)}]", 2),
        (f'{{"version": 1, "data": [{pair(1)}]}}', 1),
        (f"\ufeff[{pair(1)}]\r\n", 1),
        ("[]", 0),
    ],
)
def test_json_documents(tmp_path: Path, text: str, rows: int) -> None:
    found = look(write(tmp_path, text, "rows.json"))
    assert (found.rows, found.usable_rows) == (rows, rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": [], "b": []}', "one array"),
        (b'{"a": 1}', "one array"),
        (b"7", "no array"),
        (b'[\n{"a": 1},\n]', "rows.json:3"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_no_dataset(tmp_path: Path, text: bytes, words: str) -> None:
    with pytest.raises(UserError) as caught:
        look(write(tmp_path, text, "rows.json"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.jsonl", "there is no dataset"),
        ("x" * 5000, "there is no dataset"),
        ("nul\x00.jsonl", "there is no dataset"),
        ("folder.jsonl", "is a folder"),
        ("table.xlsx", "no JSONL or JSON file"),
        ("empty.jsonl", "is empty"),
        ("bell\x07.jsonl", "there is no dataset"),
    ],
)
def test_a_file_that_is_no_dataset(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "table.xlsx").write_text("x")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError) as caught:
        check_file(str(tmp_path / name), field="dataset.eval_path")
    assert words in str(caught.value)
    assert str(caught.value).startswith("dataset.eval_path: ")
    assert "\x07" not in str(caught.value)


def test_nobody_of_that_name_has_a_home() -> None:
    with pytest.raises(UserError, match="there is no dataset"):
        check_file("~no-such-user/d.jsonl")


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_along_is_found_by_name(name: str) -> None:
    assert check_file(name) == dataset_file(name)
    assert look(name).problems == []
