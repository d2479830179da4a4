"""A chat worker for callers that wait: load, ask, read on. The screens use the pipe themselves."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from tui_lora.core.chat import (
    BASE,
    FROM_CHAT,
    TO_CHAT,
    AdapterLoaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Loading,
    Predict,
    Predicted,
    Ready,
    ToChat,
    Turn,
)
from tui_lora.core.errors import UserError
from tui_lora.core.sampling import Sampling
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.launch import start_chat
from tui_lora.store.pipe import PipeWorker


@dataclass(frozen=True)
class _Ended:
    code: int
    words: str


class Conversation:
    """One base in memory, with the adapters of `targets` beside it.

    `on_phase` hears what loading does. Raises UserError when the base or an adapter cannot be
    loaded. Used as a context manager; the worker ends with it.
    """

    def __init__(
        self, targets: Sequence[ChatTarget], on_phase: Callable[[str], None] = lambda label: None
    ) -> None:
        check_together(targets)
        self._heard: queue.SimpleQueue[FromChat | _Ended] = queue.SimpleQueue()
        self._worker: PipeWorker[ToChat, FromChat] = PipeWorker(
            start_chat(targets[0]),
            sends=TO_CHAT,
            hears=FROM_CHAT,
            on_message=self._heard.put,
            on_end=lambda code, words: self._heard.put(_Ended(code, words)),
        )
        try:
            self.ready = self._until_ready(on_phase)
            for target in targets:
                if target.adapter is not None:
                    self._load(target)
        except BaseException:
            self.close()
            raise

    def ask(
        self,
        turns: Sequence[Turn],
        *,
        name: str = BASE,
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> AnswerEnded:
        """The answer, with `on_text` hearing it grow. Raises UserError when it fails."""
        id = str(uuid.uuid4())
        self._worker.send(
            Ask(
                id=id,
                name=name,
                turns=tuple(turns),
                sampling=sampling or Sampling(),
            )
        )
        while True:
            message = self._next()
            if isinstance(message, AnswerGrew) and message.id == id:
                on_text(message.text)
            elif isinstance(message, AnswerEnded) and message.id == id:
                return message
            elif isinstance(message, ChatFailed):
                raise UserError(message.message, exit_code=1)

    def predict(self, text: str, *, name: str) -> Predicted:
        """Every label with its probability. Raises UserError when it fails."""
        id = str(uuid.uuid4())
        self._worker.send(Predict(id=id, name=name, text=text))
        while True:
            message = self._next()
            if isinstance(message, Predicted) and message.id == id:
                return message
            if isinstance(message, ChatFailed):
                raise UserError(message.message, exit_code=1)

    def close(self) -> None:
        self._worker.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _until_ready(self, on_phase: Callable[[str], None]) -> Ready:
        while True:
            message = self._next()
            if isinstance(message, Loading):
                on_phase(message.label)
            elif isinstance(message, Ready):
                return message
            elif isinstance(message, ChatFailed):
                raise UserError(message.message, exit_code=1)

    def _load(self, target: ChatTarget) -> None:
        self._worker.send(LoadAdapter(name=target.name, path=str(target.adapter)))
        while True:
            message = self._next()
            if isinstance(message, AdapterLoaded) and message.name == target.name:
                return
            if isinstance(message, ChatFailed):
                raise UserError(message.message, exit_code=1)

    def _next(self) -> FromChat:
        message = self._heard.get()
        if isinstance(message, _Ended):
            last = message.words.splitlines()[-1] if message.words else "it said nothing"
            raise UserError(
                f"the chat worker ended (exit code {message.code}): {last}", exit_code=1
            )
        return message


def check_together(targets: Sequence[ChatTarget]) -> None:
    """Refuse targets that cannot share a base, before anything is loaded. Raises UserError."""
    first = targets[0]
    for other in targets[1:]:
        if first.classifier or other.classifier:
            raise UserError(
                f"{first.name if first.classifier else other.name} gives labels instead of "
                "answers, so it shares its base with nobody.",
                then="Ask it alone.",
            )
        if other.base != first.base:
            raise UserError(
                f"{first.name} and {other.name} are on different bases "
                f"({first.model.id} and {other.model.id}).",
                then="Side by side works for one base and its adapters.",
            )
