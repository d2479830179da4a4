"""What live parts of a run hold, of real models as bitsandbytes and torch keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.model


def stepped(model_folder: Path, scheme: str) -> tuple[Any, Any]:
    """A model with an adapter, and the optimizer with which it took a step."""
    import torch
    from peft import get_peft_model

    from tui_lora.core.spec import LoraSpec, ModelSpec, QuantizationSpec
    from tui_lora.worker.lora import lora_config
    from tui_lora.worker.model import load_model

    quantization = QuantizationSpec(scheme=scheme)  # type: ignore[arg-type]
    loaded = load_model(ModelSpec(id=str(model_folder)), quantization, devices="cpu")
    model = get_peft_model(loaded.model, lora_config(LoraSpec(r=4)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    ids = torch.arange(32).reshape(2, 16)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("scheme", ["none", "nf4", "int8"])
def test_parts_are_counted_once_each(scheme: str, tiny_model: Path) -> None:
    from tui_lora.worker.held import held_by

    model, optimizer = stepped(tiny_model, scheme)
    held = held_by(model, optimizer, "cpu")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tensors = sum(1 for p in model.parameters() if p.requires_grad)
    assert held["adapter"] == held["gradients"] == 4 * trained
    # Two moments of each weight, and a count of the steps of each tensor.
    assert held["optimizer"] == 2 * 4 * trained + 4 * tensors
    frozen = [p for p in model.parameters() if not p.requires_grad]
    packed = sum(p.numel() * p.element_size() for p in frozen if p.dtype.itemsize == 1)
    plain = sum(p.numel() * p.element_size() for p in frozen if p.dtype.itemsize > 1)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    beside = held["weights"] - packed - plain - buffers
    if scheme == "none":
        assert (packed, beside) == (0, 0)
    else:
        # A byte for 64 weights of half a byte each, or four for a row of bytes; and in each layer
        # the tables of its codes.
        layers = sum(1 for p in frozen if p.dtype.itemsize == 1)
        assert packed // 32 <= beside <= packed // 16 + 1200 * layers
    # All of it lies in the machine's memory.
    assert set(held_by(model, optimizer, "cuda:0").values()) == {0}


def test_before_the_first_step_there_is_less(tiny_model: Path) -> None:
    import torch

    from tui_lora.worker.held import held_by

    layer = torch.nn.Linear(8, 8)
    layer.bias.requires_grad_(False)
    held = held_by(layer, None, "cpu")
    assert held == {"weights": 32, "adapter": 256, "gradients": 0, "optimizer": 0}
    # A view of the same memory is the same memory.
    layer.register_buffer("again", layer.bias.data[:4])
    assert held_by(layer, None, "cpu") == held
