"""What singular values say of an adapter, and where each layer stands."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tui_lora.core.adapter_figures import (
    Change,
    directions,
    entropy_rank,
    figures,
    norm,
    rank_words,
    stable_rank,
)
from tui_lora.core.adapter_layers import Place, in_order, layout, places


def change(path: str, *spectrum: float, r: int | None = None) -> Change:
    return Change(path, r or len(spectrum), 1.0, 64, 32, spectrum)


def test_four_equal_directions_are_four_by_every_measure() -> None:
    flat = (0.5, 0.5, 0.5, 0.5)
    assert (norm(flat), stable_rank(flat), directions(flat)) == (1.0, 4.0, 4)
    assert entropy_rank(flat) == pytest.approx(4.0)


def test_the_ranks_of_a_falling_spectrum() -> None:
    falling = (4.0, 2.0, 1.0, 1.0)
    assert stable_rank(falling) == pytest.approx(22 / 16)
    shares = (0.5, 0.25, 0.125, 0.125)
    assert entropy_rank(falling) == pytest.approx(math.prod(s**-s for s in shares))
    assert directions(falling, 0.9) == 2
    assert directions(falling, 0.95) == 3


def test_of_nothing_there_is_no_rank() -> None:
    nothing = figures("new", [change("layers.0.q_proj", 0.0, 0.0)])
    assert stable_rank((0.0,)) is entropy_rank((0.0,)) is directions((0.0,)) is None
    assert "nothing was learned" in rank_words(nothing)


@pytest.mark.parametrize(
    ("spectrum", "said"),
    [
        ((1.0, *15 * (0.01,)), "larger than this run needed"),
        (tuple(0.85**at for at in range(16)), "about right"),
        (16 * (1.0,), "saturated"),
        ((1.0, 1.0), "of so small a rank"),
    ],
)
def test_what_is_said_of_r(spectrum: tuple[float, ...], said: str) -> None:
    assert said in rank_words(figures("it", [change("layers.0.q_proj", *spectrum)]))


def test_layers_and_modules_have_their_places() -> None:
    found = places(
        [
            "model.layers.0.self_attn.q_proj",
            "model.layers.11.mlp.experts.3.up_proj",
            "model.layers.11.mlp.experts.4.up_proj",
            "lm_head",
        ]
    )
    assert found["model.layers.0.self_attn.q_proj"] == Place("q_proj", 0)
    assert found["model.layers.11.mlp.experts.3.up_proj"] == Place("up_proj", 11)
    assert found["model.layers.11.mlp.experts.4.up_proj"] == Place("up_proj", 11)
    assert found["lm_head"] == Place("lm_head", None)


def test_rows_that_would_be_called_the_same_are_told_apart() -> None:
    gpt2 = places(["transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj"])
    assert {place.row for place in gpt2.values()} == {"attn.c_proj", "mlp.c_proj"}
    both = places(["model.visual.blocks.0.proj", "model.language.layers.0.proj"])
    assert {place.row for place in both.values()} == {"visual.proj", "language.proj"}
    assert in_order(["down_proj", "odd", "q_proj"]) == ("q_proj", "down_proj", "odd")


def test_experts_of_a_layer_are_one_cell() -> None:
    ones = [change(f"layers.0.experts.{at}.up_proj", 3.0, 0.0) for at in range(4)]
    cell = figures("it", ones).cells[Place("up_proj", 0)]
    assert cell.norm == pytest.approx(6.0)
    assert cell.spectrum == pytest.approx((3.0, 0.0))
    with_base = figures("it", ones).with_base({one.path: 30.0 for one in ones})
    assert with_base.relative == pytest.approx(0.1)


def test_a_half_known_base_is_unknown() -> None:
    ones = [change("layers.0.experts.0.up_proj", 1.0), change("layers.0.experts.1.up_proj", 1.0)]
    assert figures("it", ones).with_base({ones[0].path: 5.0}).relative is None


CONFIG: dict[str, Any] = {"r": 8, "lora_alpha": 16}


@pytest.mark.parametrize(
    ("more", "scaling"),
    [
        ({}, 16 / 4),
        ({"use_rslora": True}, 16 / 2),
        ({"alpha_pattern": {"q_proj": 2}}, 2 / 4),
        ({"alpha_pattern": {"layers\\.1\\..*": 2}}, 16 / 4),
        ({"alpha_pattern": {"(((": 2}}, 16 / 4),
    ],
)
def test_the_scaling_is_peft_s(more: dict[str, Any], scaling: float) -> None:
    """r is what the file has: rank_pattern, and PiSSA's doubling, are in it already."""
    path = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {f"{path}.lora_A.weight": (4, 64), f"{path}.lora_B.weight": (32, 4)}
    one = layout(shapes, {**CONFIG, **more}).factors[0]
    assert (one.path, one.r, one.scaling) == ("model.layers.0.self_attn.q_proj", 4, scaling)


def test_what_is_not_two_factors_is_named() -> None:
    shapes = {
        "base_model.model.layers.0.q_proj.lora_A.weight": (8, 64),
        "base_model.model.layers.0.q_proj.lora_B.weight": (64, 4),
        "base_model.model.layers.0.q_proj.lora_magnitude_vector": (64,),
        "base_model.model.score.weight": (3, 64),
        "base_model.model.layers.0.q_proj.bias": (64,),
    }
    found = layout(shapes, CONFIG)
    assert found.factors == ()
    assert " ".join(found.left_out) == (
        "1 x lengths of outputs (DoRA) 1 x layers trained whole 1 x biases "
        "1 x factors that do not fit each other"
    )
