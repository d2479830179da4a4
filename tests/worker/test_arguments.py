"""Every library argument that a setting says it becomes exists in what is installed."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.fields import settings
from tui_lora.core.spec import parse_spec
from tui_lora.store.presets import preset_names, read_preset

pytestmark = pytest.mark.model

# Taken by from_pretrained through **kwargs, so no signature lists them; test_train uses each.
_KEYWORDS = {"revision", "dtype", "attn_implementation"}


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.path)
def test_named_arguments_exist(setting) -> None:  # type: ignore[no-untyped-def]
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from trl import SFTConfig

    known = {
        "SFTConfig": {field.name for field in dataclasses.fields(SFTConfig)},
        "LoraConfig": {field.name for field in dataclasses.fields(LoraConfig)},
        "BitsAndBytesConfig": set(inspect.signature(BitsAndBytesConfig.__init__).parameters),
        "AutoModelForCausalLM": _KEYWORDS
        | set(inspect.signature(AutoModelForCausalLM.from_pretrained).parameters),
    }
    for argument in filter(None, setting.argument.split(", ")):
        owner, _, name = argument.partition(".")
        if not name:
            assert owner == "CUDA_VISIBLE_DEVICES"
            continue
        if name.startswith("from_pretrained("):
            name = name.removeprefix("from_pretrained(").removesuffix(")")
            if name == "pretrained_model_name_or_path":
                continue
        assert name in known[owner], argument


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_becomes_arguments_that_trl_takes(name: str, tmp_path: Path) -> None:
    import torch

    from tui_lora.worker.arguments import sft_arguments, sft_config
    from tui_lora.worker.lora import lora_config

    data = {"model": "some/model", "dataset": "rows.jsonl", **read_preset(name).data}
    spec = parse_spec(data)
    arguments, choices = sft_arguments(
        spec, scratch=tmp_path, device="cpu", dtype=torch.float32, held_out=True, resumed=False
    )
    config = sft_config(arguments)
    assert config.learning_rate == spec.training.learning_rate
    assert config.logging_nan_inf_filter is False
    assert config.bf16 is False
    assert lora_config(spec.lora).r == spec.lora.r
    assert all(choice.reason for choice in choices)


def test_a_renamed_argument_is_named_before_anything_is_loaded() -> None:
    from tui_lora.worker.arguments import sft_config

    with pytest.raises(UserError, match="does not know max_sequence_length"):
        sft_config({"output_dir": "x", "max_sequence_length": 5})


def test_fp16_cards_train_float32_adapters_and_bf16_cards_bfloat16_ones() -> None:
    import torch

    from tui_lora.worker.model import choose_adapter_dtype

    assert choose_adapter_dtype(torch.float16, "cuda:0")[0] == torch.float32
    assert choose_adapter_dtype(torch.bfloat16, "cuda:0")[0] == torch.bfloat16
    assert choose_adapter_dtype(torch.float32, "cpu")[0] == torch.float32
