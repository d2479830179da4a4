"""What a chat takes, and whether it fits beside a training: figures without a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tui_lora.core.chat_fit import Beside, ChatFit, may_still_take
from tui_lora.core.chat_memory import ChatBase, ChatForecast, ChatParts, chat_forecast
from tui_lora.core.events import (
    AttemptFinished,
    AttemptStarted,
    MemoryForecasted,
    ModelLoaded,
    StepDone,
)
from tui_lora.core.memory import Forecast, Parts
from tui_lora.core.model_facts import ModelFacts, facts_of
from tui_lora.core.spec import QuantizationSpec
from tui_lora.core.view import RunView

LLAMA2: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA31 = {
    **LLAMA2, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072,
}  # fmt: skip
GEMMA2: dict[str, Any] = {
    "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336,
    "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
    "vocab_size": 256000, "max_position_embeddings": 8192, "hidden_activation": "gelu_pytorch_tanh",
    "attn_logit_softcapping": 50.0, "sliding_window": 4096,
    "layer_types": ["sliding_attention", "full_attention"] * 21,
}  # fmt: skip


def facts(config: dict[str, Any]) -> ModelFacts:
    found = facts_of(config)
    assert found is not None
    return found


def chat(config: dict[str, Any], scheme: str = "nf4", adapter: int = 0) -> ChatForecast:
    known = facts(config)
    base = ChatBase(known, QuantizationSpec(scheme=scheme), 2, scores=known.capped)  # type: ignore[arg-type]
    return chat_forecast(base, "card", adapter_bytes=adapter, context_gib=0.0)


@pytest.mark.parametrize(
    ("config", "scheme", "adapter", "simulated"),
    [
        (LLAMA31, "none", 0, 16.242),
        (LLAMA31, "int8", 167_772_160, 10.287),
        (LLAMA31, "nf4", 0, 6.490),
        (LLAMA31, "nf4", 167_772_160, 6.990),
        (LLAMA2, "nf4", 159_907_840, 7.051),
        (GEMMA2, "nf4", 216_072_192, 10.619),
    ],
)
def test_it_agrees_with_a_simulated_prompt(
    config: dict[str, Any], scheme: str, adapter: int, simulated: float
) -> None:
    """Reserved by torch after a prompt of 4,096 tokens, by the simulation (worker/memory)."""
    found = chat(config, scheme, adapter).takes_gib
    assert 0.97 * simulated < found < 1.09 * simulated


def test_a_window_bounds_the_cache() -> None:
    known = facts({**GEMMA2, "sliding_window": 1024})
    assert (known.window, known.windowed) == (1024, 21)
    base = ChatBase(known, QuantizationSpec(), 2)
    one = 2 * 2 * 8 * 256
    cache = chat_forecast(base, "cpu").parts.cache * 2**30
    assert cache == one * 21 * (4096 + 1023)
    everywhere = replace(base, facts=replace(known, windowed=0))
    assert chat_forecast(everywhere, "cpu").parts.cache * 2**30 == one * 42 * 4096


def test_a_conversation_ends_with_the_context() -> None:
    assert chat({**LLAMA2, "max_position_embeddings": 2048}).tokens == 2048
    assert chat(LLAMA31).tokens == 4096


def forecasted(peak: float, context: float = 0.5) -> MemoryForecasted:
    parts = Parts(
        weights=peak - context, adapter=0, gradients=0, optimizer=0, activations=0, workspace=0,
        loss=0, context=context,
    )  # fmt: skip
    found = Forecast(
        method="simulated",
        parts=parts,
        peak_allocated_gib=peak - context,
        peak_reserved_gib=peak - context,
    )
    return MemoryForecasted(card="T4", total_gib=15.0, forecast=found)


def view(*events: Any) -> RunView:
    found = RunView()
    for at, event in enumerate(events):
        found.apply(event.model_copy(update={"t": float(at), "mono": float(at)}))
    return found


STARTED = AttemptStarted(attempt=1, pid=4)
STOPPED = AttemptFinished(attempt=1, verdict="stopped", message="")
LOADED = ModelLoaded(seconds=3, device="cuda:0", memory_bytes=4 * 2**30)


def step(reserved: float, peak: float) -> StepDone:
    return StepDone(step=1, epoch=0.1, reserved_gib=reserved, peak_reserved_gib=peak)


@pytest.mark.parametrize(
    ("events", "still"),
    [
        ([STARTED, forecasted(11.0)], 11.0),
        ([STARTED, forecasted(11.0), LOADED], 6.5),
        ([STARTED, forecasted(11.0), LOADED, step(9.7, 9.7)], 0.8),
        ([STARTED, forecasted(9.0), LOADED, step(9.7, 9.9)], 0.2),
        ([STARTED, LOADED, step(9.0, 9.4)], 0.4),
        ([STARTED, LOADED], None),
        # What an earlier attempt held is not held by this one.
        ([STARTED, forecasted(11.0), LOADED, STARTED, forecasted(8.0)], 8.0),
        # Nor what was forecast of it, whose settings may be others: until its own is there.
        ([STARTED, forecasted(11.0), step(9, 9), STARTED], None),
        (
            [STARTED, forecasted(15), step(14, 14), STARTED, forecasted(8.8), step(7.9, 7.9)],
            0.4,
        ),
        ([STARTED, forecasted(11.0), step(9, 9), STOPPED], 11.0),
    ],
)
def test_what_a_training_may_still_take(events: list[Any], still: float | None) -> None:
    found = may_still_take("run", view(*events), "card")
    assert found.still_gib == (pytest.approx(still) if still is not None else None)
    assert (found.why == "") == (still is not None)


def fit(free: float | None, still: float | None = 0.8, takes: float = 4.1) -> ChatFit:
    parts = ChatParts(weights=takes - 1.0, adapters=0, cache=0.5, workspace=0.2, context=0.3)
    why = "" if still is not None else "nobody knows"
    beside = Beside("gsm8k-run", still, why)
    return ChatFit("card", ChatForecast(parts, 4096), free, 16.0, (beside,))


@pytest.mark.parametrize(
    ("free", "still", "verdict"),
    [
        (8.0, 0.8, "fits"),
        (5.0, 0.8, "tight"),
        (4.8, 0.8, "does_not_fit"),
        (3.2, 0.8, "does_not_fit"),
        (3.2, None, "does_not_fit"),
        (8.0, None, "unknown"),
        (None, 0.8, "unknown"),
    ],
)
def test_a_training_is_left_what_it_needs(
    free: float | None, still: float | None, verdict: str
) -> None:
    assert fit(free, still).verdict == verdict


def test_the_figures_are_said() -> None:
    assert fit(3.2).sentence == (
        "chat would take 4.10 GiB; the card has 3.20 free, of which gsm8k-run may still need 0.800 "
        "at its peak."
    )
    assert "of which gsm8k-run may still need —. nobody knows." in fit(8.0, None).sentence


def test_beside_a_training_it_is_held_to_what_was_counted() -> None:
    """A quarter more where that is free, never what the training may need; less its context."""
    assert fit(16.0).most_gib == pytest.approx(1.25 * 4.1 - 0.3)
    assert fit(5.0).most_gib == pytest.approx(4.2 - 0.3)
    assert fit(3.2).most_gib == pytest.approx(2.4 - 0.3)
    assert fit(0.5).most_gib == 0
    assert replace(fit(16.0), beside=()).most_gib is None
