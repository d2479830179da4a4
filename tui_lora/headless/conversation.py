"""A chat worker for callers that wait: load, ask, read on. The screens use the pipe themselves."""

from __future__ import annotations

import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from tui_lora.core.chat import (
    BASE,
    FROM_CHAT,
    TO_CHAT,
    AdapterLoaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    Cancel,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Loading,
    LoadModel,
    Predict,
    Predicted,
    Ready,
    ToChat,
    Turn,
)
from tui_lora.core.errors import ContextOverrun, UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.text import clean
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.json_file import read_object
from tui_lora.store.launch import start_chat
from tui_lora.store.local_model import local_place
from tui_lora.store.pipe import PipeWorker
from tui_lora.store.same_shape import differs

TWICE_S = 2.0
"""A second Ctrl-C within these seconds is meant for the program."""


@dataclass(frozen=True)
class _Ended:
    code: int
    words: str


class Conversation:
    """One base in memory, with the adapters and merged models of `targets` beside it.

    `on_phase` hears what loading does, `on_warning` what is to be known of an adapter. Raises
    UserError when the base or an adapter cannot be loaded. Used as a context manager; the worker
    ends with it.
    """

    def __init__(
        self,
        targets: Sequence[ChatTarget],
        on_phase: Callable[[str], None] = lambda label: None,
        on_warning: Callable[[str], None] = lambda words: None,
    ) -> None:
        check_together(targets)
        self._heard: queue.SimpleQueue[FromChat | _Ended] = queue.SimpleQueue()
        self._interrupted = float("-inf")
        self._on_phase, self._on_warning = on_phase, on_warning
        self._worker: PipeWorker[ToChat, FromChat] = PipeWorker(
            start_chat(targets[0]),
            sends=TO_CHAT,
            hears=FROM_CHAT,
            on_message=self._heard.put,
            on_end=lambda code, words: self._heard.put(_Ended(code, words)),
        )
        try:
            self.ready = self._until_ready()
            for target in targets:
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
        strength: float = 1.0,
        plain: bool = False,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> AnswerEnded:
        """The answer, with `on_text` hearing it grow. Raises UserError when it fails, as
        ContextOverrun where the turns are too long.

        A Ctrl-C stops the answer, which ends as `cancel`; a second within `TWICE_S` is raised.
        """
        id = str(uuid.uuid4())
        self._worker.send(
            Ask(
                id=id,
                name=name,
                turns=tuple(turns),
                sampling=sampling or Sampling(),
                strength=strength,
                plain=plain,
            )
        )
        with self._ctrl_c(lambda: self._worker.send(Cancel(id=id))):
            while True:
                message = self._next()
                if isinstance(message, AnswerGrew) and message.id == id:
                    on_text(message.text)
                elif isinstance(message, AnswerEnded) and message.id == id:
                    return message
                elif isinstance(message, ChatFailed):
                    kind = ContextOverrun if message.overrun else UserError
                    raise kind(message.message, exit_code=1)

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

    @property
    def alive(self) -> bool:
        return self._worker.alive

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

    @contextmanager
    def _ctrl_c(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Within, a Ctrl-C cancels, and a second soon after it is raised as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def pressed(*_: object) -> None:
            now = time.monotonic()
            if now - self._interrupted < TWICE_S:
                raise KeyboardInterrupt
            self._interrupted = now
            # A thread of its own: this one may be in the middle of a message to the worker.
            threading.Thread(target=cancel, daemon=True).start()

        signal.signal(signal.SIGINT, pressed)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _until_ready(self) -> Ready:
        while True:
            message = self._next()
            if isinstance(message, Loading):
                self._on_phase(message.label)
            elif isinstance(message, Ready):
                return message
            elif isinstance(message, ChatFailed):
                raise UserError(message.message, exit_code=1)

    def _load(self, target: ChatTarget) -> None:
        if target.whole is not None:
            self._worker.send(LoadModel(name=target.name, path=str(target.whole)))
        elif target.adapter is not None:
            self._worker.send(LoadAdapter(name=target.name, path=str(target.adapter)))
        else:
            return
        while True:
            message = self._next()
            if isinstance(message, Loading):
                self._on_phase(message.label)
            if isinstance(message, AdapterLoaded) and message.name == target.name:
                if message.warning:
                    self._on_warning(f"{target.name}: {message.warning}")
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


def together(targets: Sequence[ChatTarget]) -> list[ChatTarget]:
    """The targets in one process: a model's folder that is built as the base of the adapters stands
    beside it as a whole model. Raises UserError for what cannot share a base."""
    base = next((one for one in targets if one.adapter is not None), targets[0])
    found = [_beside(base, one) for one in targets]
    check_together([base, *found])
    return found


def _beside(base: ChatTarget, other: ChatTarget) -> ChatTarget:
    folder = Path(other.model.id).expanduser().absolute()
    if other.adapter is not None or other.base == base.base or not folder.is_dir():
        return other
    config = read_object(folder / "config.json")
    try:
        own = read_object(local_place(base.model) / "config.json")
    except UserError:
        own = None
    if config is None or own is None:
        return other
    if (how := differs(config, own)) is not None:
        raise UserError(
            f"{other.name} is built otherwise than {base.model.id}: {how}.",
            then="Side by side works for one base, its adapters, and models merged from them.",
        )
    return replace(base, name=other.name, adapter=None, session=None, whole=folder)


def check_together(targets: Sequence[ChatTarget]) -> None:
    """Refuse targets that cannot share a base, before anything is loaded. Raises UserError."""
    first = targets[0]
    for other in targets[1:]:
        if other is first:
            continue
        if first.classifier or other.classifier:
            raise UserError(
                f"{first.name if first.classifier else other.name} gives labels instead of "
                "answers, so it shares its base with nobody.",
                then="Ask it alone.",
            )
        if other.base != first.base:
            ours, theirs = (_base_in_words(one, other, first) for one in (first, other))
            raise UserError(
                f"{first.name} and {other.name} are on different bases ({ours} and {theirs}).",
                then="Side by side works for one base and its adapters.",
            )


def _base_in_words(one: ChatTarget, *both: ChatTarget) -> str:
    """Its id, with what sets it apart where the ids are the same."""
    words = [one.model.id]
    if len({other.model.id for other in both}) == 1:
        words += [one.model.revision or "main", one.model.dtype, one.quantization.scheme]
    return clean(" ".join(words))
