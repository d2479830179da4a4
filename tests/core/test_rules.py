"""Every rule across settings is broken by one example, and the default spec breaks none."""

from typing import Any, get_args

import pytest

from tui_lora.core import adapter_rules, rules
from tui_lora.core.fields import put
from tui_lora.core.lora_spec import parse_layers
from tui_lora.core.spec import LoraSpec, QuantizationSpec, RunSpec, check_spec
from tui_lora.core.variants import SCHEMES, VARIANTS, refusal

LEAST: dict[str, Any] = {"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}}

# rule -> settings that break it, and the field that it names
BROKEN_BY: dict[rules.Rule, tuple[dict[str, Any], str]] = {
    rules._warmup_within_run: (
        {"training.max_steps": 10, "training.warmup": 10},
        "training.warmup",
    ),
    rules._whole_warmup_steps: ({"training.warmup": 2.5}, "training.warmup"),
    adapter_rules.variant_on_this_base: (
        {"lora.variant": "dora", "quantization.scheme": "int8"},
        "lora.variant",
    ),
    adapter_rules.reference_is_the_base: ({"task": "dpo", "lora.variant": "pissa"}, "lora.variant"),
    adapter_rules.reference_keeps_its_biases: ({"task": "kto", "lora.bias": "all"}, "lora.bias"),
    adapter_rules.own_optimizer: (
        {"lora.variant": "lora-fa", "training.optimizer": "adamw_8bit"},
        "training.optimizer",
    ),
    adapter_rules.ratio_of_lora_plus: ({"lora.plus_ratio": 4}, "lora.plus_ratio"),
    adapter_rules.layers_are_numbers: ({"lora.layers": "all"}, "lora.layers"),
    adapter_rules.a_pattern_says_its_layers: (
        {"lora.layers": "0", "lora.target_modules": ".*_proj"},
        "lora.layers",
    ),
    adapter_rules.starts_as_its_adapter_ends: (
        {"lora.start_from": "a", "lora.variant": "olora"},
        "lora.start_from",
    ),
    adapter_rules.only_sft_starts_from: (
        {"task": "dpo", "lora.start_from": "a"},
        "lora.start_from",
    ),
    adapter_rules.nothing_beside_what_is_converted: (
        {"lora.variant": "pissa", "lora.modules_to_save": ["lm_head"]},
        "lora.variant",
    ),
    adapter_rules.threshold_of_int8: ({"quantization.threshold": 3}, "quantization.threshold"),
    adapter_rules.kept_on_a_quantized_base: ({"quantization.keep": ["a"]}, "quantization.keep"),
    rules._f1_of_labels: ({"evaluation.stop_by": "macro_f1"}, "evaluation.stop_by"),
    rules._early_stopping_needs_evaluation: (
        {"evaluation.early_stopping": 3, "dataset.eval_share": 0},
        "evaluation.early_stopping",
    ),
    adapter_rules.no_quantized_dtype_mix: (
        {"quantization.compute_dtype": "float16"},
        "quantization.compute_dtype",
    ),
    rules._eval_file_is_not_the_dataset: (
        {"dataset.eval_path": "d.jsonl"},
        "dataset.eval_path",
    ),
    adapter_rules.named_targets_are_names: (
        {"lora.target_modules": ["q_proj", " "]},
        "lora.target_modules",
    ),
    rules._loss_on_answers_of_sft: (
        {"task": "dpo", "dataset.loss_on": "all"},
        "dataset.loss_on",
    ),
    rules._text_has_no_answer: (
        {"dataset.format": "text", "dataset.loss_on": "assistant"},
        "dataset.loss_on",
    ),
    rules._overlap_within_passage: (
        {"dataset.format": "text", "dataset.overlap": 600},
        "dataset.overlap",
    ),
    rules._pairs_not_packed: ({"task": "dpo", "training.packing": True}, "training.packing"),
    rules._kto_compares_in_a_batch: (
        {"task": "kto", "training.micro_batch": 1},
        "training.micro_batch",
    ),
    rules._one_held_out: (
        {"dataset.eval_path": "e.jsonl", "dataset.eval_split": "test"},
        "dataset.eval_split",
    ),
    rules._weights_are_numbers: ({"dataset.mix": ["a.jsonl*0"]}, "dataset.mix"),
    rules._one_device: ({"hardware.devices": "cuda:0"}, "hardware.devices"),
}


def with_settings(values: dict[str, Any]) -> dict[str, Any]:
    data = LEAST
    for path, value in values.items():
        data = put(data, path, value)
    return data


def test_the_default_spec_breaks_no_rule() -> None:
    assert rules.broken_rules(RunSpec.model_validate(LEAST)) == ()


def test_every_rule_has_its_example() -> None:
    assert set(BROKEN_BY) == set(rules.RULES)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__.strip("_"))
def test_a_rule_is_broken_by_its_example_and_by_it_alone(rule: rules.Rule) -> None:
    values, field = BROKEN_BY[rule]
    problems = rules.broken_rules(RunSpec.model_validate(with_settings(values)))
    assert [problem.field for problem in problems] == [field]
    assert problems[0].message.endswith(".")


def test_several_rules_are_broken_at_once() -> None:
    values = (
        BROKEN_BY[adapter_rules.variant_on_this_base][0] | BROKEN_BY[rules._whole_warmup_steps][0]
    )
    spec, problems = check_spec(with_settings(values))
    assert spec is not None
    assert {problem.field for problem in problems} == {"lora.variant", "training.warmup"}


@pytest.mark.parametrize("device", ["auto", "cpu", "3", "GPU-8932f937-d72c", "MIG-GPU-1/2/0"])
def test_devices_that_cuda_knows(device: str) -> None:
    assert check_spec(put(LEAST, "hardware.devices", device))[1] == ()


@pytest.mark.parametrize("device", ["cuda", "0,1", "GPU", "-1", "CPU"])
def test_devices_that_would_hide_every_card(device: str) -> None:
    (problem,) = check_spec(put(LEAST, "hardware.devices", device))[1]
    assert "names no device" in problem.message


@pytest.mark.parametrize(("text", "layers"), [("0-3, 12", (0, 1, 2, 3, 12)), ("5", (5,))])
def test_layers_are_numbers_and_ranges(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "3-1", "-2", "1..4", "0-99999", "a"])
def test_what_are_no_layers(text: str) -> None:
    with pytest.raises(ValueError, match=r"layer|backwards"):
        parse_layers(text)


def test_every_variant_works_on_a_base_that_is_not_quantized() -> None:
    assert set(VARIANTS) == set(get_args(LoraSpec.model_fields["variant"].annotation))
    assert set(SCHEMES) == set(get_args(QuantizationSpec.model_fields["scheme"].annotation))
    for variant in VARIANTS:
        assert refusal(variant, "none") == ""
