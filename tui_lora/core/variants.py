"""Which variants of LoRA work on which bases: every cell that is open is proved by a test."""

from __future__ import annotations

from collections.abc import Mapping

SCHEMES = ("none", "int8", "nf4", "fp4")
VARIANTS = ("lora", "rslora", "dora", "pissa", "olora", "lora+", "lora-fa")

CHANGE_THE_BASE = ("pissa", "olora")
"""Variants that take what the adapter begins with out of the base's weights."""

_REFUSED: Mapping[tuple[str, str], str] = {
    ("dora", "int8"): "DoRA on an int8 base is not reliable (it needs the unpacked weights at "
    "every step).",
    **{
        ("pissa", scheme): "PiSSA decomposes the base's weights, and peft does not do that to "
        "quantized ones."
        for scheme in SCHEMES[1:]
    },
    **{
        ("olora", scheme): "OLoRA takes its start out of the base's weights; quantizing what is "
        "left would make it another base than the one that the adapter is loaded on."
        for scheme in SCHEMES[1:]
    },
}


def refusal(variant: str, scheme: str) -> str:
    """Why a variant is not trained on a base that is stored so; empty when it is."""
    return _REFUSED.get((variant, scheme), "")


def mend(variant: str) -> str:
    """What to do about a refusal."""
    others = [name for name in SCHEMES[1:] if not refusal(variant, name)]
    return f"Use {', '.join([*others, 'no quantization'])} or another variant."
