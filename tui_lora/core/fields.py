"""The settings of a run spec as a flat list: what form, `--set`, README and `?` are made from."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tui_lora.core.columns import parse_columns, show_columns
from tui_lora.core.pairs import parse_pairs, show_pairs
from tui_lora.core.spec import SHORT, RunSpec
from tui_lora.core.texts import parse_texts, show_texts

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_LIST = re.compile(r"\[.*\]", re.DOTALL)

Kind = Literal["text", "whole", "number", "yes_no", "choice", "names", "texts", "columns", "pairs"]


@dataclass(frozen=True)
class Setting:
    """One setting. `default` is None for 'empty' and `...` where a value must be given.

    `above` and `below`: the minimum and the maximum themselves are not allowed.
    """

    path: str
    label: str
    help: str
    unit: str
    argument: str
    kind: Kind
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    default: Any
    optional: bool
    above: bool = False
    below: bool = False

    @property
    def section(self) -> str:
        return self.path.split(".")[0]

    @property
    def range_text(self) -> str:
        """`1 to 1,024`, `above 0 to 1`, the choices, or nothing."""
        if self.kind == "yes_no":
            return "yes, no"
        if self.choices:
            return ", ".join(self.choices)
        low, high = self.minimum, self.maximum
        least = "" if low is None else f"above {_limit(low)}" if self.above else _limit(low)
        most = "" if high is None else f"below {_limit(high)}" if self.below else _limit(high)
        if least and most:
            return f"{least} to {most}"
        if least:
            return least if self.above else f"{least} or more"
        if most:
            return most if self.below else f"up to {most}"
        return ""


def _limit(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


SECTION_TITLES = {
    "model": "Base",
    "quantization": "Quantization",
    "task": "Task",
    "dataset": "Dataset",
    "lora": "LoRA",
    "preference": "Preference",
    "training": "Training",
    "evaluation": "Evaluation",
    "peek": "Peek",
    "hardware": "Hardware",
    "guards": "Guards",
    "hooks": "Hooks",
    "experimental": "Experimental",
}


TEXTS = ("peek.prompts",)
"""Lists of texts, which may hold commas."""


@cache
def settings() -> tuple[Setting, ...]:
    """Every setting of the spec that has more than one possible value, in the spec's order."""
    return tuple(_walk())


@cache
def setting_at(path: str) -> Setting:
    """The setting called `lora.r`; raises KeyError for an unknown path."""
    for found in settings():
        if found.path == path:
            return found
    raise KeyError(path)


def _walk() -> Iterator[Setting]:
    for section, info in RunSpec.model_fields.items():
        model = info.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            found = _setting(section, info)
            if len(found.choices) > 1:
                yield found
            continue
        for name, field in model.model_fields.items():
            found = _setting(f"{section}.{name}", field)
            if not (found.kind == "choice" and len(found.choices) < 2):
                yield found


def _setting(path: str, field: FieldInfo) -> Setting:
    options = _members(field.annotation)
    optional = type(None) in options
    literals: list[Any] = [v for o in options if get_origin(o) is Literal for v in get_args(o)]
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    if bool in options and literals:
        kind, choices = "choice", (*(str(v) for v in literals), "yes", "no")
    elif literals:
        kind, choices = "choice", tuple(str(v) for v in literals)
    elif bool in options:
        kind = "yes_no"
    elif int in options:
        kind = "whole"
    elif float in options:
        kind = "number"
    elif any(get_origin(o) is tuple for o in options):
        kind = "texts" if path in TEXTS else "names"
    elif any(get_origin(o) is dict for o in options):
        kind = "columns" if get_args(options[0])[1] is str else "pairs"
    low: Any = None
    high: Any = None
    above = below = False
    for limit in field.metadata:
        if isinstance(limit, annotated_types.Ge):
            low = limit.ge
        elif isinstance(limit, annotated_types.Gt):
            low, above = limit.gt, True
        elif isinstance(limit, annotated_types.Le):
            high = limit.le
        elif isinstance(limit, annotated_types.Lt):
            high, below = limit.lt, True
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Setting(
        path=path,
        label=field.title or path,
        help=field.description or "",
        unit=str(extra.get("unit", "")),
        argument=str(extra.get("argument", "")),
        kind=kind,
        choices=choices,
        minimum=low,
        maximum=high,
        default=... if field.default is PydanticUndefined else field.default,
        optional=optional,
        above=above,
        below=below,
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def typed(setting: Setting, value: Any) -> str:
    """A value as it can be typed again."""
    texts = setting.kind == "texts" and isinstance(value, (tuple, list))
    return show_texts(value) if texts else show(value)


def show(value: Any) -> str:
    """A setting's value as the form and the README show it."""
    if value is None or value is ...:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        short = f"{value:g}"
        if 0 < abs(value) < 1e-3:
            # As rates are written: 2e-4, not 0.0002 or 2e-05.
            mantissa, exponent = f"{value:.6e}".split("e")
            short = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
        return short if float(short) == value else repr(value)
    if isinstance(value, Mapping):
        texts = all(isinstance(item, str) for item in value.values())
        return show_columns(value) if texts else show_pairs(value)
    if isinstance(value, (tuple, list)):
        return ", ".join(str(item) for item in value)
    return str(value)


def read(path: str, text: str) -> Any:
    """What was typed for the setting `path`, as a value for the spec to check.

    Never fails: what is no number stays text, and the spec says what is wrong with it.
    """
    found = setting_at(path)
    text = text.strip()
    if text == "" or (found.optional and text.lower() in ("none", "null", "~")):
        if found.optional:
            return None
        # A list or a mapping that may be empty; anything else must be given.
        return found.default if found.default in ((), {}) else ""
    if found.kind in ("yes_no", "choice") and text.lower() in ("yes", "no", "true", "false"):
        if "yes" in found.choices or found.kind == "yes_no":
            return text.lower() in ("yes", "true")
        return text
    if found.kind == "names" and ("," in text or _LIST.fullmatch(text)):
        inner = text[1:-1] if _LIST.fullmatch(text) else text
        return tuple(name.strip(" '\"") for name in inner.split(",") if name.strip())
    if found.kind == "texts":
        return parse_texts(text)
    if found.kind in ("columns", "pairs"):
        try:
            return parse_columns(text) if found.kind == "columns" else parse_pairs(text)
        except ValueError:
            return text
    if found.kind in ("whole", "number"):
        # 1,024 has thousands; 0,05 is a mistake that must not become 5.
        plain = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
        try:
            return int(plain)
        except ValueError:
            pass
        try:
            return float(plain)
        except ValueError:
            return text
    return text


def get(data: Mapping[str, Any], path: str) -> Any:
    """The value at `lora.r` (or `task`) in nested data; the setting's default where it is not."""
    section, _, name = path.partition(".")
    part = _opened(section, data.get(section))
    if not name:
        return setting_at(path).default if part is None else part
    if isinstance(part, Mapping) and name in part:
        return part[name]
    return setting_at(path).default


def put(data: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of nested data with the value at `lora.r` replaced.

    Unknown paths are kept too, since it is the spec that names the nearest right one.
    """
    changed: dict[str, Any] = dict(data)
    section, _, name = path.partition(".")
    if not name:
        changed[section] = value
        return changed
    part = _opened(section, changed.get(section))
    inner = dict(part) if isinstance(part, Mapping) else {}
    inner[name] = value
    changed[section] = inner
    return changed


def _opened(section: str, part: Any) -> Any:
    """A section's values, also where a text alone stands for its first."""
    return {SHORT[section]: part} if section in SHORT and isinstance(part, str) else part
