"""What a section of the run spec is made of: typed settings that say what they are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


def setting(
    default: Any,
    label: str,
    help: str,
    *,
    argument: str = "",
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    min_length: int | None = None,
) -> Any:
    """A pydantic field with what people are told of it; `argument`: `LoraConfig.r` and the like."""
    return Field(
        default,
        title=label,
        description=help,
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        min_length=min_length,
        json_schema_extra={"unit": unit, "argument": argument},
    )


class Section(BaseModel):
    """A frozen part of the spec, or the whole: no unknown keys, nothing infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1, and YAML reads yes, on and true alike.
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and annotation in (int, float, int | None, float | None):
            raise ValueError("should be a number, not yes or no")
        return value
