"""One JSON object a line, between processes: a strict writer and a tolerant reader.

A reader may be older or newer than the writer: message types and fields that it does not know are
skipped and counted, a bad line is counted, and nothing that stands in a line is ever fatal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

WIRE_VERSION = 1


class Message(BaseModel):
    """Base of events, orders and what workers on pipes say. `type` is the name on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: ClassVar[str]


M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Decoded(Generic[M]):
    """What one line held: a message, or None with the reason in `problem`."""

    message: M | None
    unknown_fields: int = 0
    problem: str = ""


class Wire(Generic[M]):
    """The messages that travel one way, and their spelling."""

    def __init__(self, *types: type[M]) -> None:
        self._types = {message.type: message for message in types}
        self._fields = {name: frozenset(t.model_fields) for name, t in self._types.items()}

    @property
    def types(self) -> tuple[type[M], ...]:
        return tuple(self._types.values())

    def encode(self, message: M) -> str:
        """`message` as one line, newline included. NaN and infinity are written as Python does."""
        if self._types.get(message.type) is not type(message):
            raise TypeError(f"{type(message).__name__} does not travel on this wire")
        body = {"v": WIRE_VERSION, "type": message.type, **message.model_dump(mode="python")}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n"

    def decode(self, line: str | bytes) -> Decoded[M]:
        """The message in `line`; never raises."""
        try:
            body: Any = json.loads(line)
        except (ValueError, RecursionError):
            return Decoded(None, problem="not JSON")
        if not isinstance(body, dict):
            return Decoded(None, problem="not an object")
        name = body.pop("type", None)
        version = body.pop("v", None)
        if not isinstance(name, str) or name not in self._types:
            return Decoded(None, problem=f"unknown type {name!r:.40}")
        known = self._fields[name]
        unknown = body.keys() - known
        if unknown:
            body = {key: value for key, value in body.items() if key in known}
        try:
            message = self._types[name].model_validate(body)
        except ValidationError:
            return Decoded(None, problem=f"bad {name} (version {version!r:.10})")
        return Decoded(message, unknown_fields=len(unknown))
