"""A dataset read whole: what is wrong with each row, doubles, what is held out, the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.check import Checked, CheckProgressed
from tui_lora.core.errors import UserError
from tui_lora.core.spec import parse_spec
from tui_lora.store import dataset_check as module
from tui_lora.store.dataset import MOST_LABELS, held_out_rows
from tui_lora.store.dataset_check import LeftOff, check
from tui_lora.store.problem_list import MOST_KEPT
from tui_lora.store.row_doubles import Doubles, Stood
from tui_lora.store.sources import Row, Source, dataset_file

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


def rows_file(path: Path, rows: list[Any]) -> Path:
    """Texts are lines as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    return path


def checked(path: Path, *, task: str = "sft", **given: Any) -> Checked:
    asked = {key: given.pop(key) for key in ("list_to", "read", "on_progress") if key in given}
    spec = {"model": "m", "task": task, "dataset": {"path": str(path), "eval_share": 0, **given}}
    return check(parse_spec(spec), **asked)


def turns(*found: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(found)}


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"q{number}", "completion": f"a{number}"}


def said(content: Any) -> dict[str, Any]:
    return turns(USER, {"role": "assistant", "content": content})


HALF = '{"messages": [{"role": "user", "content": "\\ud83d"}]}'


@pytest.mark.parametrize(
    ("row", "kind", "field", "words"),
    [
        ("{torn", "not readable", "", "is no JSON"),
        ("[1]", "wrong type", "", "is not an object"),
        (said(None), "empty", "messages[1].content", "is null"),
        (said(7), "wrong type", "messages[1].content", "a number"),
        (said(" "), "empty", "messages[1].content", "is empty"),
        (turns({"role": "robot"}), "unknown role", "messages[0].role", "robot"),
        (turns(USER, USER, ANSWER), "roles out of order", "messages[1].role", "two user turns"),
        (turns(USER), "nothing to learn", "messages", "nothing to learn"),
        (turns(ANSWER), "nothing to learn", "messages", "no turn before"),
        (HALF, "broken text", "messages[0].content", "half a character"),
        ({"messages": "x"}, "wrong type", "messages", "not a list of turns"),
        ({"other": 1}, "missing column", "messages", "is missing"),
    ],
)
def test_what_leaves_a_row_out(tmp_path: Path, row: Any, kind: str, field: str, words: str) -> None:
    good = [turns({**USER, "content": f"q{n}"}, ANSWER) for n in range(3)]
    file = rows_file(tmp_path / "d.jsonl", [*good, "", row])
    found = checked(file)
    assert (found.rows, found.usable_rows, found.kinds) == (4, 3, {kind: 1})
    (problem,) = found.problems
    assert (problem.file, problem.line, problem.row) == (str(file), 5, 3)
    assert (problem.field, problem.left_out) == (field, True)
    assert words in problem.message


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\x1b[31mred", "ESC"),
        ("a\x00b", "NUL"),
        ("left\u202eright", "U+202E"),
        ("one\x9bm", "U+009B"),
        ("a\rb", "CR"),
        ("fine\r\n\ttext \xa0 é 你 👍 \\x1b [/INST] [@click=app.quit]", ""),
    ],
)
def test_control_characters_are_worth_knowing(tmp_path: Path, text: str, name: str) -> None:
    row = {**turns(USER, {**ANSWER, "content": text}), "other": "\x1b"}
    found = checked(rows_file(tmp_path / "d.jsonl", [row]))
    assert found.usable_rows == 1
    assert found.kinds == ({"control characters": 1} if name else {})
    for problem in found.problems:
        assert (problem.field, problem.left_out) == ("messages[1].content", False)
        assert problem.message.endswith(name)


def test_doubles_are_told_by_what_they_become(tmp_path: Path) -> None:
    rows = [pair(1), pair(2), {**pair(1), "id": 7}, pair(1)]
    rows_file(tmp_path / "a.jsonl", rows)
    rows_file(tmp_path / "b.jsonl", [pair(2), {"instruction": "q2", "output": "a2"}])
    found = checked(tmp_path / "a.jsonl", mix=(str(tmp_path / "b.jsonl"),))
    assert (found.rows, found.usable_rows, found.duplicates) == (6, 5, 3)
    same = [(p.row, p.line, p.message) for p in found.problems if not p.left_out]
    assert same == [
        (2, 3, "is the same as line 1"),
        (3, 4, "is the same as line 1"),
        (4, 1, f"is the same as line 2 of {tmp_path / 'a.jsonl'}"),
    ]


def test_nobody_looks_for_doubles_any_more_when_there_are_too_many() -> None:
    doubles = Doubles(most=3)
    assert [doubles.add(key, Stood(0, n, n)) for n, key in enumerate((5, 6, 5))] == [
        None,
        None,
        Stood(0, 0, 0),
    ]
    for key in (7, 8, 5):
        assert doubles.add(key, Stood(0, 9, 9)) is None
    assert doubles.gave_up


def test_rows_of_the_held_out_file_are_left_out(tmp_path: Path) -> None:
    rows_file(tmp_path / "d.jsonl", [pair(n) for n in range(10)] + [pair(3)])
    rows_file(tmp_path / "e.jsonl", [pair(3), pair(99), "{"])
    found = checked(tmp_path / "d.jsonl", eval_path=str(tmp_path / "e.jsonl"))
    assert (found.held_out_rows, found.also_held_out, found.usable_rows) == (2, 2, 9)
    held_out, *others = found.problems
    assert [(p.row, p.message) for p in others if p.left_out] == [
        (3, "is held out too"),
        (10, "is held out too"),
    ]
    words = "1 of 3 held-out rows cannot be used (line 3: is no JSON: "
    assert held_out.message.startswith(words)
    assert (held_out.row, held_out.line, held_out.left_out) == (-1, 0, True)


def test_held_out_rows_that_are_not_measured_are_not_read(tmp_path: Path) -> None:
    rows_file(tmp_path / "d.jsonl", [pair(n) for n in range(10)])
    rows_file(tmp_path / "e.jsonl", ["{", pair(98), pair(3), pair(4), "{"])
    found = checked(tmp_path / "d.jsonl", eval_path=str(tmp_path / "e.jsonl"), eval_rows=2)
    assert (found.held_out_rows, found.also_held_out, found.usable_rows) == (2, 1, 9)
    assert found.problems[0].message.startswith("1 of 3 held-out rows cannot be used (line 1:")


def test_rows_that_are_the_same_as_one_drawn_by_seed_are_left_out(tmp_path: Path) -> None:
    rows = [pair(n) for n in range(20)] + [pair(n) for n in range(20)]
    rows_file(tmp_path / "d.jsonl", ["{", *rows])
    found = checked(tmp_path / "d.jsonl", eval_share=0.1)
    drawn = held_out_rows(40, 0.1, 42)
    same = {(at + 20) % 40 for at in drawn} - drawn
    assert found.held_out_rows == 4
    assert found.also_held_out == len(same)
    # The torn line is row 0.
    assert {p.row - 1 for p in found.problems if p.message == "is held out too"} == same
    assert found.usable_rows == 40 - len(same)


def test_max_rows_end_the_check(tmp_path: Path) -> None:
    rows_file(tmp_path / "d.jsonl", ["{", *(pair(n) for n in range(300))])
    found = checked(tmp_path / "d.jsonl", max_rows=200)
    assert (found.rows, found.usable_rows) == (201, 200)


def test_labels_are_counted(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": n % 3 == 0} for n in range(9)]
    found = checked(rows_file(tmp_path / "d.jsonl", rows), task="classification")
    assert found.labels == {"false": 6, "true": 3}
    assert found.kinds == {}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (1, "has one label only ('0'); nothing to tell apart"),
        (MOST_LABELS + 1, "has 1,001 different labels, which is no set of classes"),
        (10 * MOST_LABELS, "has 10,000 different labels, which is no set of classes"),
        (10 * MOST_LABELS + 5, "has over 10,000 different labels, which is no set of classes"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: int, words: str) -> None:
    rows = [{"text": f"t{n}", "label": n % labels} for n in range(labels + 2)]
    found = checked(rows_file(tmp_path / "d.jsonl", rows), task="classification")
    (problem,) = found.problems
    assert (problem.message, problem.field, problem.row) == (words, "label", -1)
    assert len(found.labels) <= MOST_LABELS


def test_rows_of_no_known_format(tmp_path: Path) -> None:
    found = checked(rows_file(tmp_path / "d.jsonl", [{"a": 1, "b": 2}, {"a": 2, "b": 2}, "{"]))
    assert (found.format, found.rows, found.usable_rows) == (None, 3, 0)
    assert found.columns == ("a", "b")
    assert found.kinds == {"no known format": 2, "not readable": 1}
    assert "no format known" in found.reason


def test_every_problem_is_listed(tmp_path: Path) -> None:
    rows: list[Any] = [pair(1)] * (MOST_KEPT + 10)
    file = rows_file(tmp_path / "d.jsonl", ['{"prompt": "\\u001b"}', *rows])
    found = checked(file, list_to=str(tmp_path / "list.jsonl"))
    assert found.listed_in == str(tmp_path / "list.jsonl")
    listed = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert len(listed) == MOST_KEPT + 10
    assert len(found.problems) == MOST_KEPT
    assert listed[0] == found.problems[0].model_dump()
    assert listed[-1]["line"] == MOST_KEPT + 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl", "list.jsonl"]
    with pytest.raises(UserError, match="is the dataset itself"):
        checked(file, list_to=str(file))
    with pytest.raises(UserError, match="cannot be written to"):
        checked(file, list_to=str(tmp_path / "gone" / "list.jsonl"))


def test_progress_in_bytes_or_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_S", 0)
    told: list[CheckProgressed] = []
    file = rows_file(tmp_path / "d.jsonl", ["{", *(pair(n) for n in range(300))])
    size = file.stat().st_size
    checked(file, on_progress=told.append, eval_path="quickstart-heldout")
    assert told[-1].total == size + dataset_file("quickstart-heldout").stat().st_size
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1].done <= told[-1].total
    assert told[-1].problems == 1

    def read(source: Source) -> Iterator[Row]:
        return iter([Row(n, n + 1, pair(n)) for n in range(200)])

    told.clear()
    found = checked(Path("org/name"), on_progress=told.append, read=read)
    assert (found.usable_rows, found.size_bytes) == (200, None)
    assert [(one.done, one.total) for one in told] == [(64, None), (128, None), (192, None)]


def test_nobody_wants_to_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_S", 0)
    file = rows_file(tmp_path / "d.jsonl", [pair(n) for n in range(300)])
    spec = parse_spec({"model": "m", "dataset": str(file)})
    with pytest.raises(LeftOff):
        check(spec, wants_on=lambda: False, list_to=str(tmp_path / "list.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["d.jsonl"]


def test_what_cannot_be_read_on_ends_the_check(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[{"text": "x"},\n{"text": }]')
    with pytest.raises(UserError, match="is no JSON") as caught:
        checked(tmp_path / "d.json")
    assert caught.value.where.endswith("d.json:2")
