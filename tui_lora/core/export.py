"""What viewer and merge worker say to each other over pipes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.chat import Turn
from tui_lora.core.quantization_spec import QuantizationSpec
from tui_lora.core.wire import Message, Wire

Precision = Literal["auto", "bfloat16", "float16", "float32"]
PRECISIONS: tuple[Precision, ...] = ("auto", "bfloat16", "float16", "float32")

RECORD = "merge.json"
"""Written into a merged model's folder last of all: what it was made of, and what was verified."""


class ToMerge(Message):
    pass


class FromMerge(Message):
    pass


class Asked(BaseModel):
    """What both models answer. `reference` is the answer that the dataset has."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    turns: tuple[Turn, ...]
    reference: str = ""


class Merge(ToMerge):
    """Merge the adapter in the folder `adapter` into `model` in 16 bits, as the folder `out`.

    `session` and `step` say where it is from. `quantization` is how the base was stored while it
    was trained. `devices` are where the result is verified. `replace`: a merged model that stands
    in `out` gives way once the new one is whole and verified.
    """

    type: ClassVar[str] = "merge"
    model: str
    revision: str | None = None
    adapter: str
    out: str
    precision: Precision = "auto"
    replace: bool = False
    quantization: QuantizationSpec = QuantizationSpec()
    devices: str = "auto"
    session: str = ""
    dataset: str = ""
    task: str = ""
    step: int | None = None
    asked: tuple[Asked, ...] = ()
    asked_of: str = ""


class MergePlanned(FromMerge):
    """What will be written. `dtype` with the reason for it; `notices` say what is lost or added."""

    type: ClassVar[str] = "planned"
    dtype: str
    dtype_reason: str
    size_bytes: int
    free_bytes: int
    tensors: int
    layers: int
    notices: tuple[str, ...] = ()


class MergeProgressed(FromMerge):
    """What is being done; `done` of `total` of it where it is counted, in `unit`s."""

    type: ClassVar[str] = "progressed"
    label: str
    done: int | None = None
    total: int | None = None
    unit: str = "bytes"


class Verified(BaseModel):
    """What was compared, and how near it came.

    `weights` read back from the disk, each within half a unit in the last place of what the adapter
    makes of the base; `worst_ulp` is the largest distance. `kept_share` is the part of what the
    adapter adds that rounding left (1 is all). Logits: the root mean square of the difference to
    base and adapter, and the most it may be: `yardstick` is what moving the merged weights by as
    much as rounding does to the same logits. Greedy answers: `same_answers` of `answers`, the
    others part where two tokens are as good as equal.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    weights: int
    worst_ulp: float
    kept_share: float | None = None
    prompts: int
    device: str
    logits_rms: float
    logits_allowed: float
    yardstick: float
    top_agree: float
    answers: int
    same_answers: int
    answer_tokens: int


class StorageLoss(BaseModel):
    """What an adapter that learned on quantized weights loses or gains on the 16-bit ones, over the
    `tokens` of reference answers; perplexities. `why_not`: why it was not measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    scheme: str
    merged: float | None = None
    quantized: float | None = None
    tokens: int = 0
    rows: int = 0
    source: str = ""
    why_not: str = ""


class Merged(FromMerge):
    """It is there, whole and verified."""

    type: ClassVar[str] = "merged"
    path: str
    dtype: str
    size_bytes: int
    shards: int
    layers: int
    seconds: float
    peak_rss_bytes: int
    writing_rss_bytes: int
    verified: Verified
    loss: StorageLoss | None = None
    notices: tuple[str, ...] = ()


class MergeFailed(FromMerge):
    """There is no merged model, and why; nothing is left of it."""

    type: ClassVar[str] = "failed"
    message: str
    then: str = ""
    exit_code: int = 1


TO_MERGE: Wire[ToMerge] = Wire(Merge)
FROM_MERGE: Wire[FromMerge] = Wire(MergePlanned, MergeProgressed, Merged, MergeFailed)
