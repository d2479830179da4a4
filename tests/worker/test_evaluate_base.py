"""Evaluations on another base than the adapter learned on say so."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from tests.kinds import kind_of, make_model
from tests.worker.test_evaluate import measured, session
from tests.workers import tiny_spec
from tui_lora.core.quantization_spec import QuantizationSpec
from tui_lora.core.spec import ModelSpec
from tui_lora.store.file_marks import base_files, marks_of

pytestmark = pytest.mark.model

FEW = {"parts": ("eval",), "metrics": ("none",), "rows": 2}


def test_a_base_that_was_replaced_since(rows: Path, tmp_path: Path) -> None:
    base = make_model(kind_of("llama"), tmp_path / "base")
    paths = session(tmp_path / "sessions", tiny_spec(base, rows), base)
    marks = [asdict(mark) for mark in marks_of(base_files(ModelSpec(id=str(base))))]
    paths.resolved.write_text(yaml.safe_dump({"base_files": marks}))
    assert "moved on" not in " ".join(measured(paths, **FEW).evaluation.notices)
    make_model(kind_of("llama"), base, seed=1)
    assert "its base has moved on" in " ".join(measured(paths, **FEW).evaluation.notices)


def test_a_part_that_makes_up_for_rounding_on_a_base_that_is_not_rounded(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    spec = tiny_spec(tiny_model, rows, lora__variant="loftq", quantization__scheme="nf4")
    paths = session(tmp_path / "sessions", spec, tiny_model)
    assert "twice" not in " ".join(measured(paths, **FEW).evaluation.notices)
    whole = measured(paths, quantization=QuantizationSpec(), **FEW).evaluation
    assert "counts twice" in " ".join(whole.notices)
    assert whole.quantization == "none"
