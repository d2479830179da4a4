"""What viewer and inspect worker say to each other over pipes: rows as they will be fed."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from tui_lora.core.wire import Message, Wire


class ToInspect(Message):
    pass


class FromInspect(Message):
    pass


class FeedRow(ToInspect):
    """Show row `row` (from 0) of a dataset as the model `model` would be fed it."""

    type: ClassVar[str] = "feed_row"
    id: str
    model: str
    path: str
    format: str = "auto"
    loss_on: str = "auto"
    max_length: int = 1024
    row: int


class Piece(BaseModel):
    """A run of tokens of one kind; `text` is what they decode to, special tokens included."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    text: str
    trained: bool
    tokens: int


class RowFed(FromInspect):
    """`cut_tokens` were lost behind max length."""

    type: ClassVar[str] = "row_fed"
    id: str
    row: int
    pieces: tuple[Piece, ...]
    tokens: int
    trained_tokens: int
    cut_tokens: int


class InspectReady(FromInspect):
    type: ClassVar[str] = "ready"
    seconds: float


class InspectFailed(FromInspect):
    type: ClassVar[str] = "failed"
    id: str | None = None
    message: str


TO_INSPECT: Wire[ToInspect] = Wire(FeedRow)
FROM_INSPECT: Wire[FromInspect] = Wire(RowFed, InspectReady, InspectFailed)
