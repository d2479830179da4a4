"""Where rows come from: every kind of file, folders and patterns, splits, and what is none."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.spec import DatasetSpec
from tui_lora.store.documents import PART_CHARS
from tui_lora.store.hub_cache import CachedDataset, cached_datasets
from tui_lora.store.row_file import RowFile
from tui_lora.store.sources import (
    SHIPPED,
    Source,
    dataset_file,
    fingerprint,
    open_source,
    rows_of,
    sources_of,
)

VALUES = [{"n": str(n), "text": f'row {n}, "é"\nmore'} for n in range(300)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def opened(path: Path | str, **settings: Any) -> Source:
    return open_source(DatasetSpec(path=str(path), **settings))


def values(source: Source) -> list[Any]:
    return [row.problem or row.value for row in rows_of(source)]


def jsonl(rows: list[Any]) -> str:
    return "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def table(delimiter: str, end: str = "\r\n") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(VALUES[0])
    writer.writerows(row.values() for row in VALUES)
    return out.getvalue()


LINES = jsonl(VALUES)
ARRAY = json.dumps(VALUES, indent=1, ensure_ascii=False)
CUT_OFF = gzip.compress("\n".join(json.dumps(n**9) for n in range(90_000)).encode())[:-90_000]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", "\ufeff" + LINES.replace("\n", "\r\n")),
        ("a.JSONL.gz", gzip.compress(LINES.encode())),
        ("a.jsonl", gzip.compress(LINES.encode())),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.jsonl", LINES.encode("utf-32")),
        ("a.json", ARRAY),
        ("a.json", json.dumps(VALUES)),
        ("a.json", f'{{"version": 1.5, "data": {ARRAY}, "more": {{"x": [1]}}}}'),
        ("a.json", LINES),
        ("a.json.gz", gzip.compress(ARRAY.encode("utf-16"))),
        ("a.csv", table(",")),
        ("a.csv", "\n\n" + table(";", "\n")),
        ("a.csv", ("\ufeff" + table("|")).encode("utf-16-le")),
        ("a.tsv", table("\t")),
        ("a.csv.gz", gzip.compress(table(",").encode())),
    ],
)
def test_rows_of_every_kind_of_file_forward_and_back(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    source = opened(write(tmp_path / name, content))
    rows = list(rows_of(source))
    assert [row.value for row in rows] == VALUES
    assert [row.number for row in rows] == list(range(300))
    file = RowFile(source, kept=3)
    assert [file.row(at) for at in (*range(300), *range(299, 0, -7))] == [
        rows[at] for at in (*range(300), *range(299, 0, -7))
    ]
    assert file.row(300) is None
    assert file.rows == 300


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.jsonl", "\r\n\r\n{}\n  \n{}", [3, 5]),
        ("a.json", '{\n "d": [\n\n {},\n {}\n]}', [4, 5]),
        ("a.csv", 'a,b\n"x\n\ny",1\n\nz,2\n', [2, 6]),
        ("a.txt", "one\n\ntwo", [1]),
    ],
)
def test_every_row_knows_its_line(
    tmp_path: Path, name: str, content: str, lines: list[int]
) -> None:
    source = opened(write(tmp_path / name, content))
    assert [row.line for row in rows_of(source)] == lines
    assert {row.file for row in rows_of(source)} == {str(tmp_path / name)}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("text\nhello, you, there\n", [["hello, you, there"]]),
        (",text\n0,a\n", [["0", "a"]]),
        ('text\tlabel\n"hi you\t1\nno\t0\n', [['"hi you', "1"], ["no", "0"]]),
        ("text;label\na,b;1\nc,d;2\n", [["a,b", "1"], ["c,d", "2"]]),
        ('"a","b"\n"1","2"\n"x"y","3"\n', [["1", "2"], "goes on behind a closing quote"]),
        ('a,b\n"1\n2,3\n', ["opens a quote that is never closed", ["2", "3"]]),
        (
            "a,b\n1\n1,2,3\n4,5\n\n6,7\n8,9\n",
            ["has 1 column where the header has 2", "has 3 columns", "45", "67", "89"],
        ),
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, content: str, found: list[Any]) -> None:
    rows = values(opened(write(tmp_path / "t.csv", content)))
    assert len(rows) == len(found)
    for row, wanted in zip(rows, found, strict=True):
        if isinstance(row, str):
            assert row.startswith(wanted)
        else:
            assert list(row.values()) == list(wanted)


def test_a_column_without_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ",text\n0,a\n")
    assert values(opened(file)) == [{"column 1": "0", "text": "a"}]


def test_a_long_document_comes_in_parts_that_make_it_whole(tmp_path: Path) -> None:
    text = "".join(f"Paragraph {n}: {'wörd ' * 90}\r\n\r\n" for n in range(500)) + "x" * 90_000
    source = opened(write(tmp_path / "long.md", text))
    rows = list(rows_of(source))
    assert "".join(row.value["text"] for row in rows) == text.replace("\r\n", "\n")
    assert all(len(row.value["text"]) <= PART_CHARS for row in rows)
    assert all(row.value["text"].endswith("\n\n") for row in rows[:4])
    assert [row.value["part"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row.value["last"] for row in rows] == [False] * (len(rows) - 1) + [True]
    file = RowFile(source, kept=1)
    assert [file.row(at) for at in (len(rows) - 1, 2, 7)] == [rows[-1], rows[2], rows[7]]


def test_a_folder_is_all_its_documents(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    for name in ("b.md", "a.txt", "sub/c.markdown.gz", ".hidden/d.md", "run/e.md", ".f.md"):
        write(folder / name, f"text of {name}")
    write(folder / "run" / "run.yaml", "x")
    write(folder / "empty.md", "")
    write(folder / "picture.png", "x")
    write(folder / "few.csv", "a,b\n")
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "gone.md").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.md")
    source = opened(folder)
    assert [row["file"] for row in values(source)] == ["a.txt", "b.md", "sub/c.markdown.gz"]
    assert source.note == "1 file of CSV and TSV left out, since most is text and Markdown"
    assert source.splits == ()
    assert [row.number for row in rows_of(source)] == [0, 1, 2]
    again = opened(f"{tmp_path}/d*/**/*.md")
    assert [row["file"] for row in values(again)] == ["docs/b.md"]


def test_a_folder_that_is_called_like_a_pattern(tmp_path: Path) -> None:
    write(tmp_path / "[x]" / "a.md", "one")
    write(tmp_path / "x" / "b.md", "two")
    assert [row["text"] for row in values(opened("[x]/*.md"))] == ["one"]
    assert [row["text"] for row in values(opened("[xyz]/*.md"))] == ["two"]


@pytest.mark.parametrize(
    ("names", "splits", "trained"),
    [
        (["train.jsonl", "test.jsonl", "extra.jsonl"], ("train", "test"), ["train.jsonl"]),
        (["dev-00.jsonl", "x.jsonl", "y.jsonl"], ("train", "validation"), ["x.jsonl", "y.jsonl"]),
        (["train/a.jsonl", "eval/c.jsonl"], ("train", "eval"), ["train/a.jsonl"]),
        (["x.jsonl", "trainer.jsonl"], (), ["trainer.jsonl", "x.jsonl"]),
        (["testing.md", "train.md"], (), ["testing.md", "train.md"]),
        (["test/a.md", "train/b.md"], ("train", "test"), ["train/b.md"]),
        (["test.jsonl"], ("test",), ["test.jsonl"]),
    ],
)
def test_splits_of_a_folder(
    tmp_path: Path, names: list[str], splits: tuple[str, ...], trained: list[str]
) -> None:
    for name in names:
        write(tmp_path / "d" / name, '{"text": "x"}\n')
    source = opened("d")
    assert source.splits == splits
    assert list(source.names) == trained


def test_a_split_by_name_and_what_is_held_out(tmp_path: Path) -> None:
    for name in ("train", "test", "valid"):
        write(tmp_path / "d" / f"{name}.jsonl", json.dumps({"text": name}))
    data = DatasetSpec(path="d", split="valid", eval_split="test", mix=("d*0.5",))
    assert values(open_source(data)) == [{"text": "valid"}]
    assert values(open_source(data, "held_out")) == [{"text": "test"}]
    assert [(source.split, weight) for source, weight in sources_of(data, "train")] == [
        ("validation", 1.0),
        ("train", 0.5),
    ]
    assert [source.split for source, _ in sources_of(data, "held_out")] == ["test"]
    other = DatasetSpec(path="quickstart", eval_path="d")
    assert values(open_source(other, "held_out")) == [{"text": "test"}]
    assert sources_of(DatasetSpec(path="d"), "held_out") == []
    with pytest.raises(UserError, match="no split 'nope'; it has train, test, validation"):
        opened("d", split="nope")
    with pytest.raises(UserError, match="is one file and has no split"):
        opened("d/train.jsonl", split="test")
    assert opened("d/train.jsonl", split="train").files


def test_the_stamp_and_the_fingerprint_follow_the_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "d" / "a.jsonl", '{"text": "x"}')
    source = opened("d")
    before, printed = source.stamp, fingerprint(source)
    assert (opened("d").stamp, fingerprint(opened("d"))) == (before, printed)
    write(file, '{"text": "longer"}')
    assert source.stamp != before
    assert fingerprint(source) != printed
    write(file, '{"text": "x"}')
    file.rename(file.with_name("b.jsonl"))
    assert fingerprint(opened("d")) != printed


def test_hub_ids_are_what_stands_nowhere_here(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    asked = {"subset": "main", "split": "test", "revision": "abc", "streaming": True}
    source = opened("openai/gsm8k", **asked)
    assert (source.kind, source.subset, source.split) == ("hub", "main", "test")
    assert (source.revision, source.streaming, source.files) == ("abc", True, ())
    with pytest.raises(UserError, match="no dataset data/gsm8k"):
        opened("data/gsm8k")
    with pytest.raises(UserError, match=r"no dataset org/rows\.jsonl"):
        opened("org/rows.jsonl")
    with pytest.raises(UserError, match="no dataset squad"):
        opened("squad")
    write(tmp_path / "hf/hub/datasets--squad/snapshots/1/a.parquet", "x")
    assert opened("squad").kind == "hub"
    with pytest.raises(UserError, match="not read here"):
        rows_of(source)


def test_what_is_in_the_hub_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached_datasets() == []
    repo = tmp_path / "hf" / "hub" / "datasets--org--name"
    blob = write(repo / "blobs" / "b", "12345")
    for revision in ("old", "new"):
        (repo / "snapshots" / revision).mkdir(parents=True)
        (repo / "snapshots" / revision / "a.parquet").symlink_to(blob)
    write(repo / "refs" / "main", "old\n")
    write(tmp_path / "hf/datasets/org___name/main/0.0.0/x.arrow", "123")
    write(tmp_path / "hf/datasets/org___other/sub/0.0.0/x.arrow", "1")
    write(tmp_path / "hf/datasets/json/default-1/x.arrow", "1")
    write(tmp_path / "hf/hub/datasets--org--nothing/refs/main", "gone")
    found = cached_datasets()
    assert [(one.id, one.size_bytes, one.revision, one.subsets) for one in found] == [
        ("org/name", 8, "old", ("main",)),
        ("org/other", 1, None, ("sub",)),
    ]
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub2"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "none"))
    write(tmp_path / "hub2/datasets--a--b--c/snapshots/1/x.jsonl", "{}")
    assert [type(one) is CachedDataset and one.id for one in cached_datasets()] == ["a/b--c"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", '{"a": [{}], "b": [1]}', "a.json:1: holds a second array of rows, 'b'"),
        ("a.json", '{"a": 1}', "an object with one array"),
        ("a.json", "7", "holds no array"),
        ("a.json", '[\n{"a": 1},\n]', "a.json:3: is no JSON"),
        ("a.json", '[\n{"a": 1}\n{"a": 2}]', "a.json:3: is no JSON: ',' is missing"),
        ("a.json", '[\n{"a": 1}, {"a', "a.json:2: "),
        ("a.json", "[1] 2", "goes on behind its end"),
        ("a.json", b'["x",\n"\xff"]', "a.json:2: is no UTF-8 text"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '[\n"' + "x" * (17 << 20) + '"]', "a.json:2: holds a row that is longer"),
        ("a.csv", "a,a\n1,2\n", "a.csv:1: the header names 'a' twice"),
        ("a.csv", b"\n\xe9,b\n1,2\n", "a.csv:2: has no header row"),
        ("a.jsonl.gz", CUT_OFF, "is damaged or cut off (behind line "),
        ("a.jsonl.gz", b"\x1f\x8bnot so", "no whole .gz"),
    ],
)
def test_a_file_that_cannot_be_read_on_says_where(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        values(opened(write(tmp_path / name, content)))
    assert words in str(caught.value)
    assert name in caught.value.where


@pytest.mark.parametrize(
    ("name", "content", "problems"),
    [
        ("a.jsonl", b'{"a": "\xff"}\n{}', ["is no UTF-8 text (byte 0xff at 8)", ""]),
        (
            "a.jsonl",
            "\x00{\n{}",
            ["is no JSON: a NUL (UTF-16 without its byte order mark?) at column 1", ""],
        ),
        ("a.jsonl", '{"a": "\x00"}\n{}', ["is no JSON: a NUL at column 8", ""]),
        ("a.jsonl", "[" * 100_000 + "\n{}", ["is nested too deeply", ""]),
        ("a.jsonl", "9" * 5000 + "\n{}", ["is no JSON: a number has too many digits", ""]),
        ("a.jsonl", '{"a": "' + "x" * (17 << 20) + '"}\n{}', ["is longer than 16 MB", ""]),
        ("a.jsonl", '\n{"a\n{}\n', ["is no JSON: Unterminated string at column 2", ""]),
        ("a.jsonl", '{"a": "\x1b"}\n{}', ["is no JSON: Invalid control character at column 8", ""]),
        ("a.csv", b"a,b\n\xe9,1\n2,3", ["is no UTF-8 text (byte 0xe9 at 1)", ""]),
        ("a.csv", "a,b\n" + "x" * (17 << 20) + ",1\n2,3", ["holds a line longer than 16 MB", ""]),
        ("a.csv", "a,b\n\x00,\x00\n2,3", ["", ""]),
        ("a.txt", b"a\nb\xe9", ["is no UTF-8 text (byte 0xe9)"]),
        ("a.txt", " \n\n", ["is empty"]),
        ("a.jsonl", "{}\n".encode("utf-16") + b"\x00", ["", "is no UTF-8 text (byte 0xff at 1)"]),
    ],
)
def test_a_bad_row_costs_itself_only(
    tmp_path: Path, name: str, content: str | bytes, problems: list[str]
) -> None:
    source = opened(write(tmp_path / name, content))
    assert [row.problem for row in rows_of(source)] == problems


def test_what_stands_there_but_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    write(tmp_path / "table.xlsx", "x")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "circle.jsonl").symlink_to(tmp_path / "circle.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.jsonl")
    write(tmp_path / "session" / "run.yaml", "x")
    refusals = {
        "gone.jsonl": "there is no dataset",
        "x" * 5000: "there is no dataset",
        "nul\x00.jsonl": "there is no dataset",
        "bell\x07.jsonl": "there is no dataset",
        "~no-such-user/d.jsonl": "there is no dataset",
        "empty.jsonl": "is empty",
        "table.xlsx": "no file of a kind that is known",
        "folder.jsonl": "is a folder without data",
        "*.csv": "matches no file with data",
        "circle.jsonl": "leads in a circle",
        "dangling.jsonl": "a link to a file that is not there",
        "pipe.jsonl": "is a pipe or a device",
        "/dev/null": "is a pipe or a device",
        "session": "is a session, not a dataset",
    }
    for name, words in refusals.items():
        with pytest.raises(UserError) as caught:
            open_source(DatasetSpec(path="quickstart", eval_path=name), "held_out")
        assert words in caught.value.what, name
        assert str(caught.value).startswith("dataset.eval_path: ")
        assert "\x07" not in str(caught.value)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "d" / "a.jsonl", "{}")

    def refuse(*args: object, **kwargs: object) -> object:
        raise PermissionError(13, "Permission denied", str(file))

    # Modes stop nobody who is root, as tests often are.
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            opened(file)
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            opened("d")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        patched.setattr(Path, "exists", lambda path: False)
        with pytest.raises(UserError, match="cannot be reached: permission denied"):
            opened(file)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_along_is_found_by_name(name: str) -> None:
    assert opened(name).files == (dataset_file(name),)


def test_a_text_is_found_in_values_names_and_problems(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"row {n}", "more": [{"deep": n}]}) for n in range(200)]
    rows[150], rows[170] = '{"text": "Straße \\u00c9"}', "{torn"
    file = RowFile(opened(write(tmp_path / "a.jsonl", "\n".join(rows))), kept=2)
    assert file.find("ROW 7", 0) == 7
    assert file.find("row 7", 8) == 70
    assert file.find("STRASSE é", 0) == 150
    assert file.find("no json", 0) == 170
    assert file.find("DEEP", 198) == 198
    assert file.find("nowhere", 0) is None
    assert file.find("row 7", 0, lambda: False) is None


def test_rows_from_elsewhere_by_number(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "a.jsonl", LINES))
    starts = []

    def read(source: Source, start: int) -> Any:
        starts.append(start)
        return (row for row in rows_of(source) if row.number >= start)

    file = RowFile(source, kept=5, read=read)
    assert [file.row(at).number for at in (0, 50, 48, 7, 9)] == [0, 50, 48, 7, 9]  # type: ignore[union-attr]
    assert starts == [0, 7]
