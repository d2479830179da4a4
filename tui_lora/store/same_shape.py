"""Whether two models are built alike, by their config.json: then one may stand beside the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_lora.core.model_facts import facts_of
from tui_lora.core.text import one_line

_SIZES = ("layers", "hidden", "inner", "heads", "shared_heads", "head_size")
_WORDS = {
    "hidden": "numbers a token",
    "inner": "numbers in its MLP",
    "shared_heads": "heads of keys",
    "head_size": "numbers a head",
}


def differs(config: Mapping[str, Any], base: Mapping[str, Any]) -> str | None:
    """How a model with this config is built otherwise than the base, in words; None where it is
    not. It may have more tokens: those that an adapter brought along."""
    kind, wanted = (one_line(str(one.get("model_type")), max_chars=40) for one in (config, base))
    if kind != wanted:
        return f"it is a {kind} and the base a {wanted}"
    facts, own = facts_of(config), facts_of(base)
    if facts is None or own is None:
        return None if config.get("architectures") == base.get("architectures") else "its sizes"
    for name in _SIZES:
        given, size = getattr(facts, name), getattr(own, name)
        if given != size:
            return f"{given:,} {_WORDS.get(name, name)}, and the base has {size:,}"
    if facts.vocabulary < own.vocabulary:
        return f"{facts.vocabulary:,} tokens, and the base has {own.vocabulary:,}"
    return None
