"""The figures of an adapter's files, held against what peft itself adds to each weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kinds import config_of, kind_of
from tui_lora.store.adapter_spectrum import AdapterPlace, figures_of

pytestmark = pytest.mark.model

CASES = {
    "plain": ("llama", {"target_modules": "all-linear"}),
    "rslora, ranks and alphas of their own": (
        "llama",
        {
            "target_modules": ["q_proj", "down_proj"],
            "use_rslora": True,
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"layers.0.mlp.down_proj": 3},
        },
    ),
    "dora and an embedding": (
        "llama",
        {"target_modules": ["v_proj", "embed_tokens"], "use_dora": True},
    ),
    "weights the other way round": ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    "a stack of experts": (
        "mixtral",
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_norm_is_that_of_what_peft_adds(case: str, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM

    kind, arguments = CASES[case]
    torch.manual_seed(0)
    bare = AutoModelForCausalLM.from_config(config_of(kind_of(kind), 480), dtype=torch.float32)
    options: dict[str, Any] = {"r": 4, "lora_alpha": 8, "init_lora_weights": False, **arguments}
    model = get_peft_model(bare, LoraConfig(task_type="CAUSAL_LM", **options))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    found = figures_of(AdapterPlace("it", tmp_path))
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    squares = [float(layer.get_delta_weight("default").detach().pow(2).sum()) for layer in layers]
    assert len(squares) == len({one.path for c in found.cells.values() for one in c.changes})
    assert found.norm == pytest.approx(sum(squares) ** 0.5, rel=1e-4)
    strongest = max(cell.spectrum[0] for cell in found.cells.values() if len(cell.changes) == 1)
    tops = [
        float(torch.linalg.matrix_norm(layer.get_delta_weight("default").detach(), 2).max())
        for layer in layers
        if layer.get_delta_weight("default").dim() == 2
    ]
    assert strongest == pytest.approx(max(tops), rel=1e-4)
