"""What the chat worker's link tells its listeners, and in which state it is."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from textual.message import Message

from tui_lora.core.chat import (
    BASE,
    AnswerEnded,
    AnswerGrew,
    FromChat,
    MemoryHeld,
    Predicted,
    Ready,
    TokensShown,
)
from tui_lora.core.text import clean
from tui_lora.store.adapters import ChatTarget

if TYPE_CHECKING:
    from tui_lora.core.chat_fit import ChatFit
    from tui_lora.core.chat_memory import Place

GROWN_EVERY_S = 0.25

Ended = AnswerEnded | Predicted


@dataclass(frozen=True)
class LinkState:
    """What the worker does. `since`: monotonic seconds when `label` began; `problem`: the last
    thing that went wrong with the base or an adapter; `voices`: adapters in memory; `fit`: what was
    counted of it before it was loaded; `gib`: what the weights of each voice beside the base take;
    `memory`: what the worker holds in all; `fixed`: why a voice has one strength only; `warning`:
    what is odd about the adapter that was loaded last. While `waiting` there is no worker: `label`
    says for what.
    """

    phase: Literal["off", "waiting", "loading", "ready", "ended"] = "off"
    target: ChatTarget | None = None
    label: str = ""
    since: float = 0.0
    expect_s: float | None = None
    ready: Ready | None = None
    voices: frozenset[str] = frozenset()
    problem: str = ""
    fit: ChatFit | None = None
    gib: Mapping[str, float] = field(default_factory=dict)
    memory: MemoryHeld | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""

    @property
    def alive(self) -> bool:
        return self.phase in ("loading", "ready")

    @property
    def held(self) -> dict[Place, float]:
        """GiB that the base takes at least, by where it is; nothing while it is loaded, since part
        of it is still free then, or where it went to another place than was counted."""
        if self.fit is None or self.ready is None or not self.alive:
            return {}
        place: Place = "cpu" if self.ready.device == "cpu" else "card"
        return {place: self.fit.held_gib} if place == self.fit.place else {}


class LinkChanged(Message, bubble=False):
    """The worker is in another state."""

    def __init__(self, state: LinkState) -> None:
        self.state = state
        super().__init__()


class AnswerCame(Message, bubble=False):
    """Answer `id` has this text by now."""

    def __init__(self, id: str, text: str, tokens: int) -> None:
        self.id, self.text, self.tokens = id, text, tokens
        super().__init__()

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, AnswerCame) and message.id == self.id


class AnswerOver(Message, bubble=False):
    """Answer `id` is complete, or cannot be had: then `ended` is None and `problem` says why."""

    def __init__(self, id: str, ended: Ended | None, problem: str = "") -> None:
        self.id, self.ended, self.problem = id, ended, problem
        super().__init__()


class VoiceGone(Message, bubble=False):
    """A voice is not in memory: what it held is free, `gib` of it, or it could not be loaded, and
    `problem` says why."""

    def __init__(self, name: str, gib: float | None = None, problem: str = "") -> None:
        self.name, self.gib, self.problem = name, gib, problem
        super().__init__()


class TokensCame(Message, bubble=False):
    """The tokens that were asked for."""

    def __init__(self, shown: TokensShown) -> None:
        self.shown = shown
        super().__init__()


def voice_of(target: ChatTarget) -> str:
    """The target's name on the wire: its folder, since two may be called alike."""
    folder = target.adapter or target.whole
    return BASE if folder is None else str(folder)


def last_words(code: int, words: str) -> str:
    """How a worker ended that was not asked to, with the last thing that it said."""
    if code < 0:
        cause = ", as when memory runs out" if code == -signal.SIGKILL else ""
        return f"the chat worker was killed (signal {-code}{cause})."
    lines = [line.strip() for line in words.splitlines() if "warn" not in line.lower()]
    last = next((line for line in reversed(lines) if line), "it said nothing")
    return f"the chat worker ended (exit code {code}): {clean(last, max_chars=300)}"


class Growing:
    """Gathers an answer's pieces in the reading thread, so that few of them reach the UI."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._sent = 0.0

    def due(self, message: FromChat) -> FromChat | None:
        """What to hand on now: the answer's whole text so far, or nothing yet."""
        if isinstance(message, AnswerEnded):
            self._texts.pop(message.id, None)
        if not isinstance(message, AnswerGrew):
            return message
        first = message.id not in self._texts
        text = self._texts.get(message.id, "") + message.text
        self._texts[message.id] = text
        now = time.monotonic()
        if not first and now - self._sent < GROWN_EVERY_S:
            return None
        self._sent = now
        return message.model_copy(update={"text": text})
