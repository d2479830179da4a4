"""What viewer and chat worker say to each other over pipes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

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


class Ask(ToChat):
    """Answer `turns` with the adapter `name`, or the base. temperature 0 is greedy."""

    type: ClassVar[str] = "ask"
    id: str
    name: str = BASE
    turns: tuple[Turn, ...]
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 7


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
    """`labels` are those of a classifier, which predicts instead of answering."""

    type: ClassVar[str] = "adapter_loaded"
    name: str
    path: str
    seconds: float
    labels: tuple[str, ...] = ()


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
    """Answer `id` is complete. Seconds are wall clock in the worker."""

    type: ClassVar[str] = "answer_ended"
    id: str
    name: str
    text: str
    tokens: int
    prompt_tokens: int
    first_token_s: float | None
    seconds: float
    ended_by: Literal["end", "length", "cancel"]


class ChatFailed(FromChat):
    """What could not be done and what to do; `id` where it was an answer.

    The worker lives on unless `fatal`.
    """

    type: ClassVar[str] = "failed"
    message: str
    id: str | None = None
    fatal: bool = False


TO_CHAT: Wire[ToChat] = Wire(LoadAdapter, Ask, Predict, Cancel)
FROM_CHAT: Wire[FromChat] = Wire(
    Loading, Ready, AdapterLoaded, AnswerGrew, AnswerEnded, Predicted, ChatFailed
)
