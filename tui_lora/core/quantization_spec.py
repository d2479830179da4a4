"""The part of the run spec that says how the frozen base is stored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from tui_lora.core.section import Section, setting


class QuantizationSpec(Section):
    scheme: Literal["none", "int8", "nf4", "fp4"] = setting(
        "none",
        "quantization",
        "How the frozen base is stored: none (16 or 32 bits), int8 (half of 16 bits), nf4 or fp4 "
        "(about a quarter). The adapter itself is never quantized.",
        argument="BitsAndBytesConfig.load_in_4bit, BitsAndBytesConfig.load_in_8bit, "
        "BitsAndBytesConfig.bnb_4bit_quant_type",
    )
    double_quant: bool = setting(
        True,
        "double quant",
        "Quantize the 4-bit scales too: saves about 0.37 bits a weight, costs a little time. Only "
        "for nf4 and fp4.",
        argument="BitsAndBytesConfig.bnb_4bit_use_double_quant",
    )
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "compute dtype",
        "Precision in which 4-bit weights are unpacked and multiplied. auto: the same as dtype.",
        argument="BitsAndBytesConfig.bnb_4bit_compute_dtype",
    )
    threshold: float = setting(
        6.0,
        "int8 threshold",
        "int8: inputs larger than this are multiplied in 16 bits, so that few outliers do not "
        "coarsen the rest. Lower is more exact and slower; 0 multiplies all in int8.",
        argument="BitsAndBytesConfig.llm_int8_threshold",
        ge=0,
        le=1000,
    )
    keep: tuple[str, ...] = setting(
        (),
        "not quantized",
        "Names of layers that keep their 16 bits on a quantized base, such as down_proj. The "
        "output always does.",
        argument="BitsAndBytesConfig.llm_int8_skip_modules",
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return () if value is None else value
