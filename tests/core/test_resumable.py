"""Which settings a checkpoint survives: every one of the spec is classed, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.fields import settings
from tui_lora.core.resumable import RULES, as_it_ran, judged
from tui_lora.core.spec import RunSpec, parse_spec


def spec(**sections: Any) -> RunSpec:
    return parse_spec({"model": "m", "dataset": "d.jsonl", **sections})


def test_every_setting_is_classed_and_none_besides() -> None:
    assert list(RULES) == [setting.path for setting in settings()]


@pytest.mark.parametrize("path", RULES)
def test_whoever_is_told_no_is_told_why(path: str) -> None:
    rule = RULES[path]
    assert (rule.why == "") == (rule.kind == "free")
    assert not rule.why.endswith(".")


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"training.micro_batch": 1, "training.accumulation": 16}, "free", ""),
        ({"training.micro_batch": 1}, "fixed", "have to stay 16 rows a step"),
        ({"training.gradient_checkpointing": True}, "free", ""),
        ({"training.max_length": 512}, "noted", "longer than 512 tokens lose their end"),
        ({"training.max_length": 2048}, "noted", "keep up to 2,048"),
        ({"quantization.scheme": "nf4"}, "noted", "rounded otherwise"),
        ({"lora.r": 8}, "fixed", "weights of another adapter"),
        ({"training.optimizer": "adamw_8bit"}, "fixed", "state of another optimizer"),
        ({"training.learning_rate": 1e-4}, "fixed", "optimizer's state"),
        ({"training.seed": 7}, "fixed", "in this order"),
        ({"lora.r": 16}, "free", ""),
    ],
)
def test_a_change_is_judged(changes: dict[str, Any], kind: str, words: str) -> None:
    found = judged(spec(), changes)
    assert found.kind == kind
    assert words in " ".join([*found.notes, *map(str, found.refused)])


def test_what_it_was_left_to_the_run_counts_as_what_it_became() -> None:
    shorter = {"training.max_length": 512}
    packed = as_it_ran(spec(), {"training.packing": "yes"})
    assert judged(packed, shorter).kind == "fixed"
    text = as_it_ran(spec(), {"dataset.format": "text"})
    assert "counted in sequences" in str(judged(text, shorter).refused[0])
    as_asked = as_it_ran(spec(training={"packing": False}), {"training.packing": "yes"})
    assert judged(as_asked, shorter).kind == "noted"


def test_an_adapter_that_began_from_a_rounded_base_stays_on_it() -> None:
    eva = spec(lora={"variant": "eva"}, quantization={"scheme": "nf4"})
    assert judged(eva, {"quantization.scheme": "fp4"}).kind == "fixed"
