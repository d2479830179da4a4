"""The benchmarks for memory: rows nobody thought of, presets, and every step of a card's cell."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tui_lora.store.presets import preset_names

pytestmark = pytest.mark.model

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PUBLISHED = Path(__file__).with_name("published_memory.csv")
SHAPES = json.loads((BENCHMARKS / "model_shapes.json").read_text())


def script(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("of_benchmarks", BENCHMARKS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": "nobody/knows-7b"}, "the table of shapes has no nobody/knows-7b"),
        ({"seq_len": "2048 packed"}, "it says seq_len '2048 packed'"),
        ({"micro_batch": "0"}, "it says micro_batch '0'"),
        ({"seq_len": "9" * 30}, "more than are simulated"),
        ({"quant": "torchao nf4"}, "how 'torchao nf4' stores weights"),
        ({"grad_ckpt": "?"}, "neither yes nor no"),
        ({"optimizer": "shampoo"}, "the optimizer 'shampoo'"),
        ({"base_dtype": "tf31"}, "which base_dtype"),
        ({"lora_r": "-3"}, "it says lora_r '-3'"),
        ({"targets": "nothing_proj"}, "cannot be run without weights"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_row_that_cannot_be_done_says_why(changes: dict[str, str], why: str) -> None:
    row = next(csv.DictReader(PUBLISHED.open()))
    assert script("memory.py").predicted({**row, **changes}, SHAPES)[:2] == (None, None)
    assert why in script("memory.py").predicted({**row, **changes}, SHAPES)[2]


def test_a_cell_too_many_or_too_few_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark, path = script("memory.py"), tmp_path / "rows.csv"
    path.write_text("model,seq_len,notes\nnobody/knows,512,a,b\nnobody/knows\n")
    assert benchmark.rows_in(path) == [
        {"model": "nobody/knows", "seq_len": "512", "notes": "a"},
        {"model": "nobody/knows", "seq_len": "", "notes": ""},
    ]
    monkeypatch.setattr(sys, "argv", ["memory.py", str(path)])
    assert benchmark.main() == 0
    assert capsys.readouterr().out.count("the table of shapes has no nobody/knows") == 2


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-hf"),
        ("unsloth/Llama-3.1-8B-Instruct-bnb-4bit", "meta-llama/Llama-3.1-8B"),
        ("Llama 3.1 8B on 1x4090", "meta-llama/Llama-3.1-8B"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
    ],
)
def test_tuned_models_have_the_shape_of_their_base(model: str, like: str) -> None:
    assert script("memory.py").shape_of(model, SHAPES) == SHAPES[like]


@pytest.mark.long
@pytest.mark.parametrize("name", preset_names())
def test_the_formula_is_near_the_simulation_of_a_preset(name: str, tmp_path: Path) -> None:
    row = script("formula.py").of_preset(name, tmp_path)
    assert row is None or abs(row["error_percent"]) < 10


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["nf4", "int8", "none"])
def test_a_cell_for_a_card_runs_from_end_to_end(scheme: str) -> None:
    asked = {
        "shape": "tiny", "name": "", "scheme": scheme, "checkpointing": True, "tokens": 64,
        "packed": scheme == "none", "rows": 2, "device": "cpu", "everything": False,
    }  # fmt: skip
    told = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu" / "cell.py"), json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    cell = json.loads(told.stdout.splitlines()[-1])["cell"]
    assert cell["outcome"] == "measured", cell.get("why", told.stderr[-2000:])
    assert len(cell["measured"]["steps"]) == 2
    assert cell["batch"]["tokens"] == 2 * 64
    # Nothing of a card was measured, and nothing says so.
    assert cell["measured"]["reserved"] is None


@pytest.mark.long
def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = script("gpu/memory.py")
    results = tmp_path / "done.jsonl"
    done = []

    def run(cell: dict[str, Any], **_: Any) -> dict[str, Any]:
        done.append(benchmark._key(cell))
        return {"outcome": "crashed" if cell["packed"] else "does_not_fit", "why": "said so"}

    monkeypatch.setattr(benchmark, "_run", run)
    base = ["x", "--shape", "tiny", "--device", "cpu", "--results", str(results), "--tokens", "64"]
    for more, cells in (([], 12), ([], 0), (["--again"], 6), (["--all"], 6)):
        done.clear()
        monkeypatch.setattr(sys, "argv", [*base, *more])
        assert benchmark.main() == 0
        assert len(done) == cells
    results.write_text(results.read_text() + '{"shape": "tiny", "sch')
    done.clear()
    assert benchmark.main() == 0
