"""What can be chosen from: models by the user's own folders, datasets near, rows by number."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.models import write_model
from tui_lora.core.errors import UserError
from tui_lora.store.dataset_list import list_datasets
from tui_lora.store.model_list import forget, list_models, remember
from tui_lora.store.paths import DEMO_MODEL
from tui_lora.store.preferences import read_preferences


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, folder in (("CONFIG", "config"), ("CACHE", "cache")):
        monkeypatch.setenv(f"TUI_LORA_{name}", str(tmp_path / folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "tables"))
    return tmp_path


def test_the_demo_model_is_always_there_and_once(machine: Path) -> None:
    listed = list_models()
    assert [entry.id for entry in listed.entries] == [DEMO_MODEL]
    assert "Fetched when the run starts" in listed.notes[listed.entries[0].place]
    write_model(machine / "cache" / "models" / DEMO_MODEL)
    listed = list_models(DEMO_MODEL)
    assert [(entry.id, entry.parameters) for entry in listed.entries] == [(DEMO_MODEL, 256)]
    assert not listed.notes


def test_models_near_are_listed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine)
    near = {str(write_model(machine / name)) for name in ("mine", "models/one")}
    write_model(machine / "models" / "deeper" / "two")
    assert {entry.place for entry in list_models().entries if entry.id != DEMO_MODEL} == near


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
        "dataset_info.json": "[1]",
        "empty.jsonl": "",
        "notes.txt": "x",
        "table.tsv": "a\tb",
        "z.parquet": "x",
        "below/e.jsonl": "{}",
        "below/one.md": "x",
        "below/below/f.jsonl": "{}",
        "manual/1.md": "one",
        "manual/2.md": "two",
        ".hidden/g.jsonl": "{}",
        "run/events.jsonl": "{}",
        "run/run.yaml": "",
    }.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(text)
    (here / "g.csv.gz").write_bytes(gzip.compress(b"a,b"))
    found = list_datasets(machine / "sessions", here, str(here / "gone.jsonl"))
    assert [(entry.source, Path(entry.path).name) for entry in found] == [
        ("shipped", "quickstart"),
        ("here", "a.jsonl"),
        ("here", "b.ndjson"),
        ("here", "c.json"),
        ("here", "d.json"),
        ("here", "g.csv.gz"),
        ("here", "table.tsv"),
        ("here", "z.parquet"),
        ("here", "e.jsonl"),
        ("here", "manual"),
        ("chosen", "gone.jsonl"),
    ]
    assert [entry.is_there for entry in found] == [True] * 10 + [False]
    assert [(e.files, e.size_bytes) for e in found if e.path.endswith("manual")] == [(2, 6)]


def test_hub_datasets_are_listed_once(machine: Path) -> None:
    for name in ("org--used", "org--other"):
        folder = machine / "hub" / f"datasets--{name}" / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder / "a.parquet").write_text("12345")
    for number, path in enumerate(("org/used", "org/not-here", "/gone.jsonl")):
        session = machine / "sessions" / f"s{number}"
        session.mkdir(parents=True)
        (session / "run.yaml").write_text(f"model: m\ndataset: {path}\n")
    found = list_datasets(machine / "sessions", machine / "nowhere", "org/other")
    assert {(entry.source, entry.path, entry.size_bytes) for entry in found[1:]} == {
        ("cached", "org/used", 5),
        ("cached", "org/other", 5),
        ("used", "org/not-here", None),
    }
    assert [entry.revision for entry in found if entry.path == "org/other"] == ["abc"]
