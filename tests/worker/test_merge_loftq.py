"""An adapter that began with what quantization rounded away is merged into the rounded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.in_process import trained
from tests.worker.test_merge import merged
from tests.workers import tiny_spec
from tui_lora.core.errors import UserError
from tui_lora.core.quantization_spec import QuantizationSpec
from tui_lora.store.spec_file import to_yaml

pytestmark = pytest.mark.model

NF4 = QuantizationSpec(scheme="nf4")


def test_it_becomes_what_was_trained(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from safetensors.torch import load_file

    few = {"training__max_steps": 2, "dataset__max_rows": 8, "evaluation__every_steps": 100}
    spec = tiny_spec(tiny_model, rows, lora__variant="loftq", quantization__scheme="nf4", **few)
    model, paths = trained(tmp_path / "sessions", "run", spec)
    told = merged(tiny_model, paths.adapter, tmp_path / "out", quantization=NF4)
    written = load_file(tmp_path / "out" / "model.safetensors")
    before = load_file(tiny_model / "model.safetensors")
    for path, layer in _layers(model):
        stored = layer.get_base_layer().weight
        rounded = dequantize_4bit(stored.data, stored.quant_state).float()
        wanted = rounded + layer.get_delta_weight("default").float()
        assert torch.allclose(written[f"{path}.weight"], wanted, atol=1e-6), path
        assert not torch.allclose(before[f"{path}.weight"], rounded, atol=1e-4)
    assert "as nf4 rounded them" in " ".join(told.notices)


def test_without_knowing_how_the_base_was_rounded_it_is_refused(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    from tests.tiny import make_tiny_adapter

    paths = tmp_path / "sessions" / "run"
    adapter = make_tiny_adapter(tiny_model, paths / "adapter")
    spec = tiny_spec(tiny_model, rows, lora__variant="loftq", quantization__scheme="nf4")
    (paths / "run.yaml").write_text(to_yaml(spec), encoding="utf-8")
    with pytest.raises(UserError, match="what quantization rounded away"):
        merged(tiny_model, adapter, tmp_path / "out")


@pytest.mark.parametrize("scheme", ["none", "int8"])
def test_one_that_went_on_without_rounding_becomes_what_its_own_run_learned_on(
    tmp_path: Path, tiny_model: Path, rows: Path, scheme: Any
) -> None:
    from tests.tiny import make_tiny_adapter

    root = tmp_path / "sessions"
    first = tiny_spec(tiny_model, rows, lora__variant="loftq", quantization__scheme="nf4")
    then = tiny_spec(tiny_model, rows, lora__start_from="first", quantization__scheme=scheme)
    for name, spec in (("first", first), ("then", then)):
        make_tiny_adapter(tiny_model, root / name / "adapter")
        (root / name / "run.yaml").write_text(to_yaml(spec), encoding="utf-8")
    stored = QuantizationSpec(scheme=scheme)
    told = merged(tiny_model, root / "then" / "adapter", tmp_path / "out", quantization=stored)
    assert told.verified
    assert "rounded away" not in " ".join(told.notices)


def _layers(model: Any) -> list[tuple[str, Any]]:
    from peft.tuners.lora.layer import LoraLayer

    found = model.get_base_model().named_modules()
    return [(path, module) for path, module in found if isinstance(module, LoraLayer)]
