"""The layers that an adapter changes: what its tensors and its config say of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tui_lora.core.text import one_line

PREFIX = "base_model.model."
"""What peft puts before the names of the base's layers."""

_FACTOR = re.compile(r"(?P<path>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])"
                     r"(?:\.(?!weight$|bias$)[\w-]+)?(?P<end>\.weight)?$")  # fmt: skip
_ORDER = (
    ("q_proj", "query", "q"),
    ("k_proj", "key", "k"),
    ("v_proj", "value", "v"),
    ("qkv_proj", "query_key_value", "c_attn"),
    ("o_proj", "out_proj", "dense", "o"),
    ("gate_proj", "w1"),
    ("up_proj", "w3", "c_fc", "fc1"),
    ("gate_up_proj",),
    ("down_proj", "w2", "c_proj", "fc2"),
)
"""How the modules of a layer follow on each other in a forward pass, by their usual names."""
_LONGEST_PATTERN = 500


@dataclass(frozen=True)
class Factors:
    """A layer's two factors by their names in the file; `a` is r x inputs, `b` outputs x r, of a
    stack of `experts` each of them one below the other (a) and side by side (b). `scaling` is what
    B A is multiplied with."""

    path: str
    a: str
    b: str
    r: int
    scaling: float
    experts: int = 1


@dataclass(frozen=True)
class Layout:
    """`factors` in the file's order; `left_out` is what else is in it, in words, and what could not
    be read as two factors."""

    factors: tuple[Factors, ...]
    left_out: tuple[str, ...]


def layout(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> Layout:
    """Pair the tensors of an adapter's file and scale them as its config says: alpha / r, or
    alpha / sqrt(r) with use_rslora (peft's `LoraLayer.update_layer`)."""
    sides: dict[str, dict[str, str]] = {}
    others: dict[str, int] = {}
    for name in shapes:
        found = _FACTOR.fullmatch(name)
        if found is None:
            kind = _kind(name)
            others[kind] = others.get(kind, 0) + 1
        else:
            sides.setdefault(found["path"].removeprefix(PREFIX), {})[found["side"]] = name
    factors = []
    broken = 0
    for path, pair in sides.items():
        one = _factors(path, pair, shapes, config)
        broken += one is None
        factors += [one] if one is not None else []
    left_out = [f"{count:,} x {kind}" for kind, count in others.items()]
    left_out += [f"{broken:,} x factors that do not fit each other"] if broken else []
    return Layout(tuple(factors), tuple(left_out))


def _factors(
    path: str,
    pair: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
) -> Factors | None:
    if len(pair) != 2:
        return None
    a, b = shapes[pair["A"]], shapes[pair["B"]]
    if len(a) < 2 or len(b) < 2 or 0 in (*a, *b) or a[0] != math.prod(b[1:]):
        return None
    r, experts = a[0], 1
    if config.get("target_parameters"):
        told = _pattern(config.get("rank_pattern"), path, config.get("r"))
        if told and r % int(told) == 0:
            r, experts = int(told), r // int(told)
    alpha = _pattern(config.get("alpha_pattern"), path, config.get("lora_alpha"))
    if alpha is None:
        return None
    return Factors(
        path,
        pair["A"],
        pair["B"],
        r,
        alpha / (math.sqrt(r) if config.get("use_rslora") else r),
        experts,
    )


def _pattern(patterns: Any, path: str, otherwise: Any) -> float | None:
    """The number for a layer, by the first pattern that its path ends with (peft's
    `get_pattern_key`)."""
    if isinstance(patterns, Mapping):
        for key, value in patterns.items():
            if _ends_so(path, str(key)[:_LONGEST_PATTERN]) and isinstance(value, int | float):
                return float(value)
    return float(otherwise) if isinstance(otherwise, int | float) else None


def _ends_so(path: str, key: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", path) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _kind(name: str) -> str:
    if "lora_magnitude_vector" in name:
        return "lengths of outputs (DoRA)"
    if "trainable_tokens" in name:
        return "numbers of new tokens"
    if name.endswith("bias"):
        return "biases"
    return "layers trained whole"


# Where a layer stands in the picture.


@dataclass(frozen=True, order=True)
class Place:
    """`row` is the kind of module; `layer` counts from 0, None outside of the numbered layers."""

    row: str
    layer: int | None


def places(paths: Iterable[str]) -> dict[str, Place]:
    """The place of each path. Rows have the shortest name that tells them apart; experts of one
    layer share a place."""
    taken = {path: _taken_apart(path) for path in paths}
    kinds = list(dict.fromkeys((stack, rest) for stack, _, rest in taken.values()))
    names = _names(kinds)
    return {path: Place(names[stack, rest], layer) for path, (stack, layer, rest) in taken.items()}


def in_order(rows: Iterable[str]) -> tuple[str, ...]:
    """Rows as a forward pass meets them; those of other names behind, as they came."""
    known = {name: at for at, names in enumerate(_ORDER) for name in names}
    kept = list(dict.fromkeys(rows))

    def key(row: str) -> tuple[int, int]:
        return known.get(row.rpartition(".")[2], len(_ORDER)), kept.index(row)

    return tuple(sorted(kept, key=key))


def _taken_apart(path: str) -> tuple[str, int | None, str]:
    """What stands before a layer's number, the number, and the module in it without the numbers of
    experts."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdecimal() and len(part) < 7), None)
    if at is None or at == len(parts) - 1:
        return "", None, path
    rest = [part for part in parts[at + 1 :] if not part.isdecimal()] or ["?"]
    return ".".join(parts[:at]), int(parts[at]), ".".join(rest)


def _names(kinds: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    rests = list(dict.fromkeys(rest for _, rest in kinds))
    short = {rest: _shortest(rest, rests) for rest in rests}
    stacks = {stack for stack, _ in kinds if stack}
    if len(stacks) < 2:
        return {kind: one_line(short[kind[1]]) for kind in kinds}
    shared = set.intersection(*(set(stack.split(".")) for stack in stacks))
    apart = {
        stack: next((part for part in stack.split(".") if part not in shared), "")
        for stack in stacks
    }
    return {
        (stack, rest): one_line(f"{apart.get(stack, '')}.{short[rest]}".lstrip("."))
        for stack, rest in kinds
    }


def _shortest(rest: str, rests: list[str]) -> str:
    parts = rest.split(".")
    for count in range(1, len(parts)):
        end = "." + ".".join(parts[-count:])
        if sum(f".{other}".endswith(end) for other in rests) == 1:
            return end[1:]
    return rest
