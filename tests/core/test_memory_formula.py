"""Memory by the formula: sizes from a config.json, and what each setting does to the sum."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.cards import card_called
from tui_lora.core.memory import Forecast, headroom_gib, verdict
from tui_lora.core.memory_formula import formula
from tui_lora.core.model_facts import facts_of, facts_of_gguf, shape_of
from tui_lora.core.spec import parse_spec

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def of(card: str = "16GiB", config: dict[str, Any] | None = None, **settings: Any) -> Forecast:
    facts = facts_of({**LLAMA, **(config or {})})
    assert facts is not None
    given = {"model": "m", "dataset": "d", "quantization": {"scheme": "nf4"}, **settings}
    return formula(facts, parse_spec(given), card_called(card))


def test_a_llama_2_7b_has_as_many_weights_as_it_has() -> None:
    facts = facts_of(LLAMA)
    assert facts is not None
    assert shape_of(facts).parameters == 6_738_415_616


def test_sizes_under_other_names_and_inside() -> None:
    gpt2 = facts_of({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257})
    assert gpt2 is not None
    assert (gpt2.inner, gpt2.tied) == (3072, True)
    inside = facts_of({"model_type": "sees", "text_config": LLAMA})
    assert inside is not None
    assert inside.hidden == 4096
    found = facts_of_gguf(
        {
            "general.architecture": "llama",
            "llama.embedding_length": 4096,
            "llama.feed_forward_length": 11008,
            "llama.block_count": 32,
            "llama.attention.head_count": 32,
            "tokenizer.ggml.tokens": {"length": 32000},
        }
    )
    assert found is not None
    assert shape_of(found).parameters == 6_738_415_616


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": None},
        {"num_hidden_layers": "32"},
        {"vocab_size": 10**12},
        {"num_attention_heads": 0},
        {"num_local_experts": 8},
        {"state_size": 16},
    ],
)
def test_nothing_is_said_of_what_the_formula_does_not_know(wrong: dict[str, Any]) -> None:
    assert facts_of({**LLAMA, **wrong}) is None


def test_the_parts_are_the_whole() -> None:
    for settings in ({}, {"training": {"gradient_checkpointing": False}}):
        found = of(**settings)
        assert found.method == "formula"
        assert found.parts.total == pytest.approx(found.peak_process_gib)
        assert found.reasons


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"quantization": {"scheme": "none"}}, {"quantization": {"scheme": "int8"}}),
        ({"quantization": {"scheme": "int8"}}, {}),
        ({"quantization": {"scheme": "nf4", "double_quant": False}}, {}),
        ({"training": {"gradient_checkpointing": False}}, {}),
        ({"training": {"checkpoint_layers": 2}}, {}),
        ({"training": {"gradient_checkpointing": "selective"}}, {}),
        ({"training": {"micro_batch": 4}}, {}),
        ({"training": {"max_length": 2048}}, {}),
        ({}, {"training": {"optimizer": "adamw_8bit"}}),
        ({"training": {"accumulation": 2}}, {"training": {"accumulation": 1}}),
        ({}, {"lora": {"target_modules": "attention"}}),
        ({}, {"lora": {"layers": "16-31"}}),
        ({"lora": {"r": 64}}, {}),
        ({"task": "dpo"}, {"lora": {"dropout": 0.0}}),
    ],
)
def test_what_takes_more(more: dict[str, Any], less: dict[str, Any]) -> None:
    assert of(**more).peak_process_gib > of(**less).peak_process_gib


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, ""),
        ({"training": {"optimizer": "adamw_torch"}}, "copy of all that is trained"),
        ({"training": {"neftune": 5}}, "NEFTune's noise"),
    ],
)
def test_what_is_not_counted_is_said(settings: dict[str, Any], said: str) -> None:
    reasons = [reason for reason in of(**settings).reasons if reason.startswith("not counted")]
    assert len(reasons) == (said != "")
    assert said in "".join(reasons)


def test_an_older_card_has_no_bfloat16() -> None:
    assert of("T4").parts.adapter == 2 * of("RTX 4080").parts.adapter


def test_headroom_is_what_a_card_has_left() -> None:
    found = of()
    headroom = headroom_gib(found, 16.0, 2.0)
    assert headroom == pytest.approx(14.0 - found.peak_process_gib)
    assert [verdict(left, 16.0) for left in (headroom, 0.5, -0.1, None)] == [
        "fits",
        "tight",
        "does_not_fit",
        "unknown",
    ]


def test_it_looks_at_no_layer_one_by_one() -> None:
    """So that it is quick: sixteen times the layers cost it nothing."""
    facts = facts_of({**LLAMA, "num_hidden_layers": 512})
    assert facts is not None
    assert len(shape_of(facts).modules) == 7
