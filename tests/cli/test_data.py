"""`tui-lora data`: with the real check worker, and an inspect worker of our own or the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import fake_inspect
from tui_lora.core.errors import UserError
from tui_lora.headless import data as verb
from tui_lora.headless import questions

HOSTILE = "[/INST] [@click=app.quit]x[/] \x1b[31mred\x9b2J"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "start_pipe_worker", fake_inspect.start_fake)
    monkeypatch.setattr("tui_lora.store.catalog.check_model", lambda model: None)


def jsonl(path: Path, *rows: Any) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def ask(path: str, **others: Any) -> int:
    wanted = {
        "model": None,
        "task": None,
        "changes": [],
        "row": None,
        "rows": None,
        "list_to": None,
        "json_wanted": False,
    }
    return verb.data(path, **{**wanted, **others})


def pair(at: int) -> dict[str, str]:
    return {"prompt": f"q{at}", "completion": f"a{at}"}


def test_a_dataset_in_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [{"prompt": None, "completion": "a"}, {"prompt": HOSTILE, "completion": 3}]
    path = jsonl(tmp_path / "rows.jsonl", *map(pair, range(8)), *bad, pair(3))
    assert ask(path, changes=["dataset.eval_share=0"]) == 0
    said = capsys.readouterr().out
    assert "  format     prompt_completion: 11 of the first 11 rows have" in said
    assert "  task       sft" in said
    assert "  parts      prompt=prompt, completion=completion" in said
    assert "rows       11   usable 9" in said
    assert f"{path}:9: prompt: is null" in said
    assert f"{path}:10: completion: is a number, not text" in said
    assert f"{path}:11: is the same as line 4" in said
    assert "\x1b" not in said
    assert "\x9b" not in said


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"text": "fine", "label": "good"}, "classification"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "dpo"),
        ({"prompt": "q", "completion": "a", "label": True}, "kto"),
        ({"text": "only a text"}, "sft"),
    ],
)
def test_the_task_is_what_the_rows_can_teach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], task: str
) -> None:
    other = {key: f"{value} 2" if isinstance(value, str) else False for key, value in row.items()}
    path = jsonl(tmp_path / "rows.jsonl", row, other)
    assert ask(path, json_wanted=True) == 0
    assert json.loads(capsys.readouterr().out)["task"] == task


def test_a_task_that_the_rows_cannot_teach_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *map(pair, range(4)))
    for given in ({"task": "dpo"}, {"changes": ["task=dpo"]}):
        with pytest.raises(UserError, match="cannot teach dpo; set task to sft") as refused:
            ask(path, **given)
        assert refused.value.exit_code == 2
    with pytest.raises(UserError, match="must be 'sft'"):
        ask(path, task="chess")


def test_columns_are_set_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"frage": f"was {n}", "antwort": f"das {n}", "mehr": f"x{n}"} for n in range(3)]
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    with pytest.raises(UserError, match="say which play which part"):
        ask(path)
    changes = ["dataset.columns=prompt={mehr}, {frage}, completion=antwort"]
    capsys.readouterr()
    assert ask(path, changes=changes) == 0
    assert "your columns: prompt={mehr}, {frage}, completion=antwort" in capsys.readouterr().out


def test_json_has_the_keys_that_programs_are_promised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *map(pair, range(5)), {"prompt": HOSTILE})
    assert ask(path, json_wanted=True) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    found = json.loads(text)
    promised = ["format", "task", "rows", "usable_rows", "splits", "columns", "tokens"]
    assert list(found)[:10] == [*promised, "truncated_rows", "trained_tokens", "problems"]
    assert (found["rows"], found["usable_rows"]) == (6, 5)
    assert found["tokens"] is None
    assert found["trained_tokens"] is None
    (problem,) = found["problems"]
    assert {"file", "line", "row", "field", "message"} <= problem.keys()
    assert (problem["file"], problem["line"], problem["row"]) == (path, 6, 6)


def test_problems_are_cut_and_listed_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [{"prompt": None, "completion": f"{n}"} for n in range(30)]
    path = jsonl(tmp_path / "rows.jsonl", *map(pair, range(5)), *bad)
    assert ask(path) == 0
    said = capsys.readouterr().out
    assert "30 problems" in said
    assert "and 10 more; --list FILE writes down all of them" in said
    listed = tmp_path / "bad.jsonl"
    assert ask(path, list_to=str(listed)) == 0
    assert f"all of them are in {listed}" in capsys.readouterr().out
    assert len(listed.read_text().splitlines()) == 30


def test_no_usable_row_is_refused_after_all_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *[{"prompt": None, "completion": "a"}] * 3)
    with pytest.raises(UserError, match=r"no row of .* can be used .*:1: prompt: is null"):
        ask(path, json_wanted=True)
    assert json.loads(capsys.readouterr().out)["usable_rows"] == 0


@pytest.mark.parametrize(
    ("labels", "words"), [(1, "has the same label, '0'"), (1001, "has over 1,000 labels")]
)
def test_labels_that_are_no_classes_are_refused(
    tmp_path: Path, labels: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"t{n}", "label": n % labels} for n in range(labels + 5)]
    with pytest.raises(UserError, match=words) as refused:
        ask(jsonl(tmp_path / "rows.jsonl", *rows))
    assert refused.value.exit_code == 2
    assert "all the same" not in capsys.readouterr().out


def test_a_file_of_no_rows_at_all_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes(b"one\ntwo \xe9\n")
    with pytest.raises(UserError, match=r"no row of .* can be used .*rows\.txt:2: is no UTF-8"):
        ask(str(tmp_path / "rows.txt"))


def test_lengths_and_a_row_token_by_token(
    tmp_path: Path, fake: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *map(pair, range(4)))
    assert ask(path, model="m", row=3, changes=["training.max_length=512"]) == 0
    said = capsys.readouterr().out
    assert "tokens     mean 12.5   p50 12   p95 20   longest 21" in said
    assert "50 in all, 30 of them trained (60%)" in said
    assert "max length 512 cuts 1 row, 5 tokens lost" in said
    shown = said[said.index("row 3:") :].splitlines()
    assert shown[0] == "row 3: 10 tokens, 4 trained, 1 cut off"
    assert shown[1].strip() == "one token lies behind max length"
    assert shown[2:] == [
        "    <|user|>⏎",
        "    [/INST]· Who·?⏎",
        "    [31m·<|assistant|>⏎",
        "  ▌  Me·, of· course·.",
        "  ✗  lost",
    ]
    assert ask(path, model="m", rows=2, json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == {"mean": 12.5, "p50": 12, "p95": 20, "max": 21}
    assert (found["truncated_rows"], found["trained_tokens"]) == (1, 30)
    assert found["measured_rows"] == 2


def test_a_model_that_cannot_be_read_leaves_the_facts(
    tmp_path: Path, fake: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *map(pair, range(4)))
    with pytest.raises(UserError, match="the model broken has no tokenizer"):
        ask(path, model="broken", json_wanted=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["usable_rows"], found["tokens"]) == (4, None)


def test_a_model_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", pair(1))
    with pytest.raises(UserError, match="nowhere"):
        ask(path, model=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="--row shows what a model is fed"):
        ask(path, row=1)


@pytest.mark.model
@pytest.mark.parametrize("task", ["sft", "dpo", "classification"])
def test_the_real_tokenizer_says_the_same(
    tmp_path: Path, tiny_model: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {
        "sft": [pair(n) for n in range(6)],
        "dpo": [{"prompt": f"q{n}", "chosen": "yes", "rejected": f"no {n}"} for n in range(6)],
        "classification": [{"text": f"word {n}", "label": "ab"[n % 2]} for n in range(6)],
    }[task]
    path = jsonl(tmp_path / "rows.jsonl", *rows)
    assert ask(path, model=str(tiny_model), row=2, json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task"] == task
    assert found["measured_rows"] == 6
    assert found["tokens"]["max"] >= found["tokens"]["p50"] > 0
    assert found["row"]["row"] == 2
    assert len(found["row"]["sequences"]) == (2 if task == "dpo" else 1)
    trained = [s["trained_tokens"] for s in found["row"]["sequences"]]
    assert all(count > 0 for count in trained) is (task != "classification")
