"""How transformers' generate() is told to draw tokens. The one place that builds its config."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tui_lora.core.sampling import Sampling


def generation_config(
    sampling: Sampling, *, most: int, ends: Collection[int], pad: int | None
) -> Any:
    """generate()'s config; `most` new tokens at most, ended by any of `ends`.

    What is not asked for is left out, and a model's own generation_config must be empty: generate()
    fills what is missing from there.
    """
    from transformers import GenerationConfig

    drawn: dict[str, Any] = {"do_sample": not sampling.greedy}
    if not sampling.greedy:
        drawn |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # transformers' own default is the 50 likeliest; nobody asked for that.
            "top_k": sampling.top_k,
        }
        if sampling.min_p > 0:
            drawn["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1:
        drawn["repetition_penalty"] = sampling.repetition_penalty
    return GenerationConfig(
        max_new_tokens=most,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
        use_cache=True,
        **drawn,
    )
