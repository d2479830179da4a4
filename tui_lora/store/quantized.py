"""Models that come quantized: how, in words, and what that means for a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_lora.core.text import clean

_NAMES = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "auto-round": "AutoRound",
    "fp8": "FP8",
    "fbgemm_fp8": "FP8 (FBGEMM)",
    "mxfp4": "MXFP4",
    "mxfp8": "MXFP8",
    "nvfp4": "NVFP4",
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "eetq": "EETQ",
    "quanto": "quanto",
    "bitnet": "BitNet",
}


@dataclass(frozen=True)
class Quantized:
    """`method` as its config.json names it, `words` for people; `problem` completes 'NAME …'."""

    method: str
    words: str
    problem: str = ""


def quantized(config: Mapping[str, Any], original: str = "") -> Quantized | None:
    """How a model of this config.json is quantized; None for one that is not.

    `original` names the model that it was made from, where that is known. bitsandbytes' weights
    are trained on as they are; no other scheme's are.
    """
    given = config.get("quantization_config")
    if not isinstance(given, dict):
        mlx = config.get("quantization")
        if not (isinstance(mlx, dict) and "group_size" in mlx):
            return None
        return _refused("mlx", f"MLX{_bits(mlx)}", original)
    method = clean(str(given.get("quant_method") or ""), max_chars=40)
    if not method:
        # Early bitsandbytes wrote no name.
        method = "bitsandbytes" if "load_in_4bit" in given or "load_in_8bit" in given else "unknown"
    if method == "bitsandbytes":
        return Quantized(method, _bitsandbytes(given))
    return _refused(method, f"{_NAMES.get(method, method)}{_bits(given)}", original)


def _bitsandbytes(given: Mapping[str, Any]) -> str:
    if given.get("load_in_8bit") or given.get("_load_in_8bit"):
        return "int8, by bitsandbytes"
    kind = str(given.get("bnb_4bit_quant_type") or "fp4").upper()
    double = ", double" if given.get("bnb_4bit_use_double_quant") else ""
    return f"{clean(kind, max_chars=8)}{double}, by bitsandbytes"


def _bits(given: Mapping[str, Any]) -> str:
    bits = given.get("bits", given.get("w_bit"))
    return f", {bits} bits" if isinstance(bits, int) and not isinstance(bits, bool) else ""


def _refused(method: str, words: str, original: str) -> Quantized:
    which = clean(original, max_chars=100) if original else "the model in 16 bits"
    problem = (
        f"is quantized already ({words}), and adapters are not trained on that. Choose {which}: "
        "nf4 and int8 are made here, while it is loaded."
    )
    return Quantized(method, words, problem)
