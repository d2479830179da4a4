"""What viewer and chat worker say to each other over pipes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.sampling import Sampling
from tui_lora.core.wire import Message, Wire

BASE = "base"
"""The name of the model without any adapter."""


class ToChat(Message):
    pass


class FromChat(Message):
    pass


class Turn(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    role: Literal["system", "user", "assistant"]
    content: str


class LoadAdapter(ToChat):
    """Load the PEFT folder `path` beside the base, under `name`."""

    type: ClassVar[str] = "load_adapter"
    name: str
    path: str


class UnloadAdapter(ToChat):
    """Forget the adapter (or model) `name` and free what it held."""

    type: ClassVar[str] = "unload_adapter"
    name: str


class LoadModel(ToChat):
    """Load a whole model from the folder `path` beside the base, under `name`: a merged one, of
    the base's shape, so that it can be compared with the adapter that it was made from."""

    type: ClassVar[str] = "load_model"
    name: str
    path: str


class Ask(ToChat):
    """Answer `turns` with the adapter `name`, or the base.

    `strength` (0 to 1.5) scales what the adapter adds: 1 as trained, 0 the base. `begun` is the
    beginning of the answer, which is carried on and not told again; where it is the whole text of
    an answer to the same turns that this worker wrote, its own tokens are carried on. `plain`: no
    template; the texts of `turns` stand one after the other, and the model goes on.
    """

    type: ClassVar[str] = "ask"
    id: str
    name: str = BASE
    turns: tuple[Turn, ...]
    sampling: Sampling = Sampling()
    strength: float = 1.0
    begun: str = ""
    plain: bool = False


class LookAtTokens(ToChat):
    """The tokens of an answer and of what it answers, with the likeliest others in the place of
    each. `answer_id`: an answer of this worker, whose own tokens are shown; where it is not known
    any more, `turns` and `text` are turned into tokens again."""

    type: ClassVar[str] = "look_at_tokens"
    id: str
    answer_id: str = ""
    name: str = BASE
    turns: tuple[Turn, ...] = ()
    text: str = ""
    strength: float = 1.0
    plain: bool = False


class Predict(ToChat):
    """Classify `text` with the classifier `name`."""

    type: ClassVar[str] = "predict"
    id: str
    name: str
    text: str


class Cancel(ToChat):
    """Stop the answer that is being written; what was written stays."""

    type: ClassVar[str] = "cancel"
    id: str


class Loading(FromChat):
    """A phase of loading, in words, with seconds to expect where known."""

    type: ClassVar[str] = "loading"
    label: str
    expect_s: float | None = None


class Ready(FromChat):
    """The base is in memory and answers."""

    type: ClassVar[str] = "ready"
    model: str
    device: str
    dtype: str
    context_tokens: int | None = None
    seconds: float


class AdapterLoaded(FromChat):
    """`labels` are those of a classifier, which predicts instead of answering. `gib`: what its
    weights take up in memory; `whole`: it is a model beside the base, and no adapter. `fixed`: why
    it answers at strengths 1 and 0 alone (a whole model: at 1). `warning`: how the base is not the
    one that it was trained on."""

    type: ClassVar[str] = "adapter_loaded"
    name: str
    path: str
    seconds: float
    labels: tuple[str, ...] = ()
    gib: float | None = None
    whole: bool = False
    fixed: str = ""
    warning: str = ""


class AdapterUnloaded(FromChat):
    type: ClassVar[str] = "adapter_unloaded"
    name: str


class MemoryHeld(FromChat):
    """What this worker holds, in GiB, told after each loading, unloading and answer: on a card
    torch's allocated and reserved bytes, on the CPU the process's resident memory in
    `allocated_gib`."""

    type: ClassVar[str] = "memory_held"
    device: str
    allocated_gib: float
    reserved_gib: float | None = None


class Chance(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    label: str
    probability: float


class Predicted(FromChat):
    """Every label with its probability (softmax), the likeliest first."""

    type: ClassVar[str] = "predicted"
    id: str
    name: str
    chances: tuple[Chance, ...]
    prompt_tokens: int
    seconds: float


class AnswerGrew(FromChat):
    """More text of answer `id`; sent at most every 50 ms."""

    type: ClassVar[str] = "answer_grew"
    id: str
    text: str
    tokens: int


class AnswerEnded(FromChat):
    """Answer `id` is complete. Seconds are wall clock in the worker. `text` and `tokens` are what
    is new: `begun` counts among `prompt_tokens`. `ended_by` stop: a stop string, which is not in
    the text. `context_left`: tokens until the context ends."""

    type: ClassVar[str] = "answer_ended"
    id: str
    name: str
    text: str
    tokens: int
    prompt_tokens: int
    first_token_s: float | None
    seconds: float
    ended_by: Literal["end", "length", "cancel", "stop"]
    context_left: int | None = None


class Alternative(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    id: int
    text: str
    probability: float


class TokenShown(BaseModel):
    """`text` as the tokenizer writes this one token, special ones by their name. `part`: template
    and turns, or the answer. `probability` and `others` (the likeliest, itself among them) are what
    the model gave this place, at temperature 1; only in the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: int
    text: str
    special: bool = False
    part: Literal["prompt", "answer"] = "prompt"
    probability: float | None = None
    others: tuple[Alternative, ...] = ()


class TokensShown(FromChat):
    """The tokens that `LookAtTokens` `id` asked for. `again`: they were made of the text anew, and
    may not be those that were written. `left_out`: tokens at the beginning that are not shown."""

    type: ClassVar[str] = "tokens_shown"
    id: str
    tokens: tuple[TokenShown, ...]
    again: bool = False
    left_out: int = 0


class ChatFailed(FromChat):
    """What could not be done and what to do; `id` where it was an answer, `name` where it was the
    loading of an adapter or model. `overrun`: the conversation is longer than the context.

    The worker lives on unless `fatal`.
    """

    type: ClassVar[str] = "failed"
    message: str
    id: str | None = None
    name: str | None = None
    fatal: bool = False
    overrun: bool = False


TO_CHAT: Wire[ToChat] = Wire(
    LoadAdapter, UnloadAdapter, LoadModel, Ask, Predict, LookAtTokens, Cancel
)
FROM_CHAT: Wire[FromChat] = Wire(
    Loading,
    Ready,
    AdapterLoaded,
    AdapterUnloaded,
    MemoryHeld,
    AnswerGrew,
    AnswerEnded,
    Predicted,
    TokensShown,
    ChatFailed,
)
