"""What a chat takes of a card, or of the machine's memory: counted before anything is loaded.

The weights are counted tensor by tensor from the headers of the model's files; what an answer needs
beside them follows transformers' generate(): keys and values of every token, one layer at work on
the whole prompt, and the logits of its last token alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tui_lora.core.memory import CONTEXT_GIB
from tui_lora.core.memory_parts import Way, packed_bytes, weights_bytes
from tui_lora.core.model_facts import ModelFacts, shape_of
from tui_lora.core.quantization_spec import QuantizationSpec

GIB = 2**30

TOKENS = 4096
"""A conversation with its next answer, as it is counted; less where the model was built for less.
Beside a training the chat is held to it."""

PROCESS_GIB, QUANTIZING_GIB = 0.4, 0.7
"""On the CPU: what Python and torch take, and what more stays with a process that has quantized
(measured on Linux with torch 2.13, transformers 5.23 and a model of 135 M weights)."""

_GROWTH = 0.5
"""The cache is put together anew at each token (transformers' DynamicCache), which leaves holes
that torch holds. `worker/memory/allocator.py` reserves 1.4 times the cache in the median for 4,096
tokens of five shapes, and 1.1 to 6.7 times: so beside a training it is held to a limit as well."""

_SLACK = 0.015
"""Blocks that torch rounds up, as a share of the weights (as in `memory_formula.py`)."""

_PER_WORD = 32
"""Bytes a word of the vocabulary for the logits of one token: themselves, in float32, sorted, with
their order, and as chances (transformers' TopPLogitsWarper)."""

_CODES, _NESTED_CODES = 16 * 4, 256 * 4 + 4
"""The code table of a 4-bit layer, and of its scales with their offset (bitsandbytes)."""

_ITEM = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_SCALES = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB")

Place = Literal["card", "cpu"]
Tensors = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and type of each tensor in files of weights, as safetensors names them."""


@dataclass(frozen=True)
class ChatBase:
    """A base to be loaded. `number`: bytes of a number in the precision it is loaded in.

    `tensors` are its files', None where they are not here. `own`: its files are quantized already.
    `headless`: a classifier, which has no output for words. `scores`: attention keeps a number for
    every two tokens and head, as without fused kernels.
    """

    facts: ModelFacts
    quantization: QuantizationSpec
    number: int
    tensors: Tensors | None = None
    own: bool = False
    headless: bool = False
    scores: bool = False


@dataclass(frozen=True)
class ChatParts:
    """GiB. `cache`: keys and values of the conversation; `workspace`: a layer at work on the
    prompt; `context`: CUDA's own share, or what the process is without a model."""

    weights: float
    adapters: float
    cache: float
    workspace: float
    context: float

    @property
    def total(self) -> float:
        return self.weights + self.adapters + self.cache + self.workspace + self.context


@dataclass(frozen=True)
class ChatForecast:
    """What a chat takes at its peak with a conversation of `tokens`."""

    parts: ChatParts
    tokens: int
    reasons: tuple[str, ...] = ()

    @property
    def takes_gib(self) -> float:
        return self.parts.total


def chat_forecast(
    base: ChatBase,
    place: Place,
    *,
    adapter_bytes: int = 0,
    context_gib: float | None = None,
    tokens: int = TOKENS,
) -> ChatForecast:
    """The peak of a chat with `base` and adapters of `adapter_bytes` beside it; `context_gib` as
    it was learned of this card."""
    facts = base.facts
    tokens = min(tokens, facts.context or tokens)
    reasons = [f"a conversation of {tokens:,} tokens with its answer"]
    if base.tensors is None:
        weights = _by_the_config(base)
        reasons.append("weights by the sizes in config.json: their files are not here")
    else:
        weights = weights_in(base)
        reasons.append("weights counted in the headers of their files")
    if place == "cpu":
        quantizes = base.quantization.scheme != "none" and not base.own
        context = PROCESS_GIB + (QUANTIZING_GIB if quantizes else 0.0)
        reasons.append("the process without a model as it was measured once")
    elif context_gib is None:
        context = CONTEXT_GIB
        reasons.append(f"CUDA's own share of {CONTEXT_GIB} GiB is assumed")
    else:
        context = context_gib
    if base.scores:
        reasons.append("no fused attention for it here: a number for every two tokens and head")
    cache = _cache(base, tokens)
    slack = _SLACK * weights if place == "card" else 0.0
    return ChatForecast(
        ChatParts(
            weights=weights / GIB,
            adapters=adapter_bytes / GIB,
            cache=cache * (1 + (_GROWTH if place == "card" else 0)) / GIB,
            workspace=(slack + _workspace(base, tokens, adapted=adapter_bytes > 0)) / GIB,
            context=context,
        ),
        tokens,
        tuple(reasons),
    )


def weights_in(base: ChatBase) -> int:
    """Bytes of the base's weights once they are loaded.

    Packed are the matrices of numbered layers that no name in `keep` ends; all else, the output
    and the embeddings among it, is in the base's precision.
    """
    assert base.tensors is not None
    unused = base.headless or base.facts.tied
    scheme = base.quantization.scheme
    taken = 0
    for name, (shape, kind) in base.tensors.items():
        numbers = math.prod(shape)
        if unused and name.endswith("lm_head.weight"):
            continue
        if base.own:
            if ".quant_state." in name:
                continue
            as_it_is = kind not in _FLOATS or name.endswith(_SCALES)
            taken += numbers * (_ITEM.get(kind, base.number) if as_it_is else base.number)
        elif scheme == "none" or not _is_packed(name, shape, base.quantization.keep):
            taken += numbers * base.number
        else:
            taken += packed_bytes(numbers, shape[0], _way(base.quantization))
            if scheme != "int8":
                taken += _CODES + (_NESTED_CODES if base.quantization.double_quant else 0)
    return taken


def adapter_bytes_in(tensors: Tensors, number: int) -> int:
    """Bytes of an adapter once it is loaded: peft keeps LoRA's matrices in float32 whatever the
    files hold (autocast_adapter_dtype), and layers that were trained whole as the base is."""
    return sum(
        math.prod(shape) * (4 if ".lora_" in name else number)
        for name, (shape, _) in tensors.items()
    )


def _by_the_config(base: ChatBase) -> int:
    shape, scheme = shape_of(base.facts), base.quantization.scheme
    if scheme == "none":
        return shape.parameters * base.number
    leftovers = (shape.parameters - shape.packed_parameters) * (base.number - 2)
    return weights_bytes(shape, _way(base.quantization)) + leftovers


def _is_packed(name: str, shape: tuple[int, ...], keep: tuple[str, ...]) -> bool:
    path = name.removesuffix(".weight")
    numbered = any(part.isdigit() for part in path.split("."))
    return path != name and len(shape) == 2 and numbered and not path.endswith(keep or ("\n",))


def _way(quantization: QuantizationSpec) -> Way:
    if quantization.scheme == "int8":
        return "int8"
    return "nf4_double" if quantization.double_quant else "nf4"


def _cache(base: ChatBase, tokens: int) -> int:
    """Keys and values of every token in every layer; layers with a window keep one token less than
    it (transformers' DynamicSlidingWindowLayer)."""
    facts = base.facts
    seen = (facts.layers - facts.windowed) * tokens
    seen += facts.windowed * min(tokens, max(0, facts.window - 1))
    return 2 * base.number * facts.keys * seen


def _workspace(base: ChatBase, tokens: int, *, adapted: bool) -> int:
    """The largest that passes at a time while a prompt of `tokens` is read.

    hidden     a token's state, the sum that it goes into, and its norm in float32: 2 b + 4 + b
    MLP        the gate's activation, up, and their product: 3 b I. Beside an adapter what comes of
               its two matrices is float32, and so are the scaled and the added: (2 b + 8) I. int8
               multiplies into int32: (2 b + 5) I
    attention  keys and values before they are put to the cache; the scores where they are kept
    unpacking  the largest matrix of a quantized base in the base's precision
    """
    f, b = base.facts, base.number
    quantized = base.own or base.quantization.scheme != "none"
    wide = 3 * b
    if adapted:
        wide = max(wide, 2 * b + 8)
    if quantized:
        wide = max(wide, 2 * b + 5)
    attention = b * (3 * f.queries + 4 * f.keys) * tokens
    if base.scores:
        attention += 8 * f.heads * tokens * tokens
    passing = max(wide * f.inner * tokens, attention) + (3 * b + 4) * f.hidden * tokens
    unpacked = b * f.hidden * max(f.inner, f.queries) if quantized else 0
    return max(passing + unpacked, _PER_WORD * f.vocabulary)
