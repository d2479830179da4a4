"""Every rule across settings is broken by one example, and the default spec breaks none."""

from typing import Any

import pytest

from tui_lora.core import rules
from tui_lora.core.fields import put
from tui_lora.core.spec import RunSpec, check_spec

LEAST: dict[str, Any] = {"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}}

# rule -> settings that break it, and the field that it names
BROKEN_BY: dict[rules.Rule, tuple[dict[str, Any], str]] = {
    rules._warmup_within_run: (
        {"training.max_steps": 10, "training.warmup": 10},
        "training.warmup",
    ),
    rules._whole_warmup_steps: ({"training.warmup": 2.5}, "training.warmup"),
    rules._dora_on_int8: (
        {"lora.variant": "dora", "quantization.scheme": "int8"},
        "lora.variant",
    ),
    rules._early_stopping_needs_evaluation: (
        {"evaluation.early_stopping": 3, "dataset.eval_share": 0},
        "evaluation.early_stopping",
    ),
    rules._no_quantized_dtype_mix: (
        {"quantization.compute_dtype": "float16"},
        "quantization.compute_dtype",
    ),
    rules._eval_file_is_not_the_dataset: (
        {"dataset.eval_path": "d.jsonl"},
        "dataset.eval_path",
    ),
    rules._named_targets_are_names: (
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
    values = BROKEN_BY[rules._dora_on_int8][0] | BROKEN_BY[rules._whole_warmup_steps][0]
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
