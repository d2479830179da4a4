"""Questions from the rows that a run was not trained on, for every shape of example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.store import heldout as module
from tui_lora.store.dataset import held_out_rows
from tui_lora.store.heldout import held_out


def spec_for(folder: Path, rows: list[Any], task: str = "sft", **dataset: Any) -> RunSpec:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return parse_spec({"model": "m", "task": task, "dataset": {"path": str(file), **dataset}})


def asked(spec: RunSpec) -> list[tuple[str, str]]:
    return [(question.text, question.reference) for question in held_out(spec, 10).questions]


def pairs(many: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(many)]


def test_the_share_is_drawn_again(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, [{"prompt": "bad"}, *pairs(150)])
    found = held_out(spec, 100)
    drawn = sorted(held_out_rows(150, 0.1, 42))
    assert [question.text for question in found.questions] == [f"q{at}" for at in drawn]
    assert found.source == f"held out of {tmp_path}/rows.jsonl by seed 42"
    few = spec_for(tmp_path, pairs(150), max_rows=20)
    assert asked(few) == [(f"q{at}", f"a{at}") for at in sorted(held_out_rows(20, 0.1, 42))]


def test_a_file_or_split_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"question": name, "answer": "a"}))
    (folder / "train.jsonl").write_text(json.dumps({"question": "t", "answer": "a"}))
    data = {"path": str(folder), "eval_split": "test"}
    found = held_out(parse_spec({"model": "m", "dataset": data}), 5)
    assert [question.text for question in found.questions] == ["test"]
    assert found.source == f"held-out split {folder} (test)"
    file = spec_for(tmp_path, pairs(2), eval_path=str(folder / "test.jsonl"))
    assert asked(file) == [("test", "a")]
    assert held_out(file, 5).source.startswith("held-out file ")
    file = spec_for(tmp_path, pairs(3), eval_path=str(folder / "train.jsonl"), eval_rows=1)
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, pairs(3))))
    assert asked(file) == [("q0", "a0")]


def test_too_much_to_read_for_the_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 10)
    found = held_out(spec_for(tmp_path, pairs(30)), 3)
    assert [question.text for question in found.questions] == ["q0", "q1", "q2"]
    assert "may have been trained on" in found.source


@pytest.mark.parametrize(
    ("task", "row", "question"),
    [
        (
            "sft",
            {"messages": [{"role": r, "content": r} for r in ("system", "user", "assistant")]},
            ("user", "assistant"),
        ),
        ("sft", {"text": "one two three four five"}, ("one two", "three four five")),
        ("classification", {"text": "fine", "label": 1}, ("fine", "1")),
        ("dpo", {"prompt": "q", "chosen": "good", "rejected": "bad"}, ("q", "good")),
        ("kto", {"prompt": "q", "completion": "good", "label": True}, ("q", "good")),
        ("kto", {"prompt": "q", "completion": "bad", "label": False}, ("q", "")),
    ],
)
def test_what_is_asked_of_each_shape(
    tmp_path: Path, task: str, row: dict[str, Any], question: tuple[str, str]
) -> None:
    assert asked(spec_for(tmp_path, [row], task)) == [question]


def test_the_system_turn_is_given_and_tools_are_passed_over(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    rows = [
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "7"},
                {"role": "assistant", "content": "seven"},
            ]
        },
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    ]
    (question,) = held_out(spec_for(tmp_path, rows, eval_share=0, system="be dry"), 5).questions
    assert [(turn.role, turn.content) for turn in question.turns] == [
        ("system", "be dry"),
        ("user", "x"),
    ]


@pytest.mark.parametrize(
    ("path", "what"), [("org/name", "a Hub dataset"), ("x.parquet", "Parquet")]
)
def test_rows_that_are_not_read_here_give_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.parquet").write_text("x")
    found = held_out(parse_spec({"model": "m", "dataset": path}), 5)
    assert found.questions == ()
    assert f"{path} is {what}, whose rows are not read here" in found.source


def test_rows_of_no_known_format_give_none(tmp_path: Path) -> None:
    assert asked(spec_for(tmp_path, [{"a": 1, "b": 2}])) == []
