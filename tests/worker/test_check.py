"""The check worker: a real process, asked as the Data screen asks it."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.check import (
    FROM_CHECK,
    TO_CHECK,
    CheckDataset,
    Checked,
    CheckFailed,
    FromCheck,
    ToCheck,
)
from tui_lora.core.spec import parse_spec
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.pipe import PipeWorker

HEAVY = ("torch", "transformers", "trl", "datasets", "pyarrow", "pandas", "numpy")


def spec_for(path: Path | str) -> dict[str, Any]:
    data = {"path": str(path), "eval_share": 0}
    return parse_spec({"model": "m", "dataset": data}).model_dump(mode="json")


def test_one_question_after_another(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    row = json.dumps({"prompt": "q \x1b[31m[/INST]", "completion": "a"})
    file.write_text(f"{row}\n" * 3 + "{\n")
    heard: queue.SimpleQueue[FromCheck] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    worker: PipeWorker[ToCheck, FromCheck] = PipeWorker(
        start_pipe_worker("check", devices="cpu"),
        sends=TO_CHECK,
        hears=FROM_CHECK,
        on_message=heard.put,
        on_end=lambda code, words: ended.put((code, words)),
    )
    try:
        listed = tmp_path / "list.jsonl"
        worker.send(CheckDataset(id="1", spec=spec_for(file), list_to=str(listed)))
        found = heard.get(timeout=60)
        assert isinstance(found, Checked)
        assert (found.id, found.rows, found.usable_rows, found.duplicates) == ("1", 4, 3, 2)
        assert found.listed_in == str(listed)
        assert len(listed.read_text().splitlines()) == sum(found.kinds.values())
        for asked, words in (
            (spec_for(tmp_path / "gone.jsonl"), "there is no dataset"),
            ({"model": 7}, "the run spec cannot be used"),
        ):
            worker.send(CheckDataset(id="2", spec=asked))
            failed = heard.get(timeout=60)
            assert isinstance(failed, CheckFailed)
            assert failed.id == "2"
            assert words in failed.message
    finally:
        worker.close()
    assert ended.get(timeout=60) == (0, "")


def test_it_needs_nothing_heavy() -> None:
    code = (
        "import sys; import tui_lora.worker.check; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.model
def test_parquet_is_read_through_the_tables(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tui_lora.core.spec import RunSpec
    from tui_lora.store.dataset_check import check
    from tui_lora.worker.check import _rows_of

    table = pa.table({"prompt": ["a", None, "b"], "completion": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "d.parquet")
    asked = RunSpec.model_validate(spec_for(tmp_path / "d.parquet"))
    found = check(asked, read=_rows_of)
    assert (found.rows, found.usable_rows, found.kinds) == (3, 2, {"empty": 1})
    assert found.problems[0].row == 1
