"""What can be chosen from: models by the user's own folders, datasets near, rows by number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models import write_model
from tui_lora.core.errors import UserError
from tui_lora.store import row_file
from tui_lora.store.dataset import rows_in
from tui_lora.store.dataset_list import list_datasets
from tui_lora.store.model_list import forget, list_models, remember
from tui_lora.store.paths import DEMO_MODEL
from tui_lora.store.preferences import read_preferences
from tui_lora.store.row_file import RowFile


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, folder in (("CONFIG", "config"), ("CACHE", "cache")):
        monkeypatch.setenv(f"TUI_LORA_{name}", str(tmp_path / folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_the_demo_model_is_always_there_and_once(machine: Path) -> None:
    listed = list_models()
    assert [entry.id for entry in listed.entries] == [DEMO_MODEL]
    assert "Fetched when the run starts" in listed.notes[listed.entries[0].place]
    write_model(machine / "cache" / "models" / DEMO_MODEL)
    listed = list_models(DEMO_MODEL)
    assert [(entry.id, entry.parameters) for entry in listed.entries] == [(DEMO_MODEL, 256)]
    assert not listed.notes


def test_folders_and_files_are_remembered_once_and_forgotten(machine: Path) -> None:
    model = write_model(machine / "models" / "one")
    gguf = machine / "x.gguf"
    gguf.write_text("junk")
    assert remember(str(machine / "models")) == [str(model)]
    assert remember(str(machine / "models")) == [str(model)]
    assert remember(str(gguf)) == [str(gguf)]
    assert read_preferences().model_folders == [str(machine / "models"), str(gguf)]
    forget(str(machine / "models"))
    listed = list_models()
    assert listed.folders == (str(gguf),)
    assert {entry.place for entry in listed.entries if entry.id != DEMO_MODEL} == {str(gguf)}
    gguf.unlink()
    assert list_models().gone == (str(gguf),)


@pytest.mark.parametrize(
    ("name", "says"), [("", "no folder"), ("nowhere", "no folder"), ("file.txt", "neither")]
)
def test_what_is_no_folder_of_models_is_not_remembered(machine: Path, name: str, says: str) -> None:
    (machine / "file.txt").write_text("x")
    with pytest.raises(UserError, match=says):
        remember(name and str(machine / name))
    with pytest.raises(UserError, match="no model in"):
        remember(str(machine))
    assert read_preferences().model_folders == []


def test_the_chosen_model_is_listed_even_when_it_is_gone(machine: Path) -> None:
    entry = next(e for e in list_models("/gone/model").entries if e.id == "/gone/model")
    assert entry.problem.startswith("cannot be used: there is no model /gone/model")
    hub = next(e for e in list_models("Qwen/Some").entries if e.id == "Qwen/Some")
    assert hub.incomplete
    assert not hub.problem


def test_datasets_near(machine: Path) -> None:
    here = machine / "here"
    for path, text in {
        "a.jsonl": "{}",
        "b.ndjson": "{}",
        "c.json": "\ufeff [1]",
        "d.json": '{"data": [1]}',
        "package.json": '{"name": "x"}',
        "empty.jsonl": "",
        "notes.txt": "x",
        "below/e.jsonl": "{}",
        "below/below/f.jsonl": "{}",
        ".hidden/g.jsonl": "{}",
        "run/events.jsonl": "{}",
        "run/run.yaml": "",
    }.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(text)
    found = list_datasets(machine / "sessions", here, str(here / "gone.jsonl"))
    assert [(entry.source, Path(entry.path).name) for entry in found] == [
        ("shipped", "quickstart"),
        ("here", "a.jsonl"),
        ("here", "b.ndjson"),
        ("here", "c.json"),
        ("here", "d.json"),
        ("here", "e.jsonl"),
        ("chosen", "gone.jsonl"),
    ]
    assert [entry.is_there for entry in found] == [True] * 6 + [False]


def test_rows_by_number(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = machine / "rows.jsonl"
    file.write_text("\n\n".join(json.dumps({"n": n}) for n in range(100)))
    reads = []
    monkeypatch.setattr(row_file, "rows_in", lambda file: reads.append(1) or rows_in(file))
    rows = RowFile(file, kept=10)

    def number(at: int) -> object:
        row = rows.row(at)
        return row and (row.value["n"], row.line)

    assert [number(at) for at in (0, 40, 35, 39)] == [(0, 1), (40, 81), (35, 71), (39, 79)]
    assert len(reads) == 1
    assert rows.rows is None
    assert number(3) == (3, 7)
    assert len(reads) == 2
    assert number(100) is None
    assert rows.rows == 100
    assert number(10**9) is None
    assert number(99) == (99, 199)
    assert rows.row(50, lambda: False) is None
    assert number(50) == (50, 101)
