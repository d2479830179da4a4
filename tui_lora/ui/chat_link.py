"""The viewer's end of the chat worker: one base in memory, shared by every screen that talks.

All of it runs in the UI's thread, but for starting and ending the process, which block, and for
the pipe's reading thread, which only hands messages over, an answer's text at most four times a
second.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from textual.message import Message
from textual.message_pump import MessagePump

from tui_lora.core.chat import (
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
    Predict,
    Predicted,
    Ready,
    ToChat,
    Turn,
)
from tui_lora.core.sampling import Sampling
from tui_lora.core.text import clean
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.launch import start_chat
from tui_lora.store.pipe import PipeWorker
from tui_lora.ui.chat_facts import (
    AnswerCame,
    AnswerOver,
    Ended,
    Growing,
    LinkChanged,
    LinkState,
    last_words,
    voice_of,
)

if TYPE_CHECKING:
    from textual.app import App

    from tui_lora.core.chat_fit import ChatFit

Pipe = PipeWorker[ToChat, FromChat]


class ChatLink:
    """Opens, asks, cancels, closes; tells its listeners what came of it by messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.state = LinkState()
        self.agreed: set[object] = set()
        """Bases that the user wanted loaded though it was not sure that they fit."""
        self._loop = loop
        self._listeners: list[MessagePump] = []
        self._pipe: Pipe | None = None
        self._serial = 0
        self._unsent: list[ToChat] = []
        self._asked: list[str] = []
        self._adapters: deque[str] = deque()

    def tell(self, listener: MessagePump) -> None:
        """Post what happens to `listener` from now on."""
        self._listeners.append(listener)

    def forget(self, listener: MessagePump) -> None:
        """No longer; without anybody who listens the worker ends."""
        self._listeners.remove(listener)
        if not self._listeners:
            self.close()

    def holds(self, target: ChatTarget) -> bool:
        """Whether the target's base is in memory already, or on its way there."""
        now = self.state.target
        return self.state.alive and now is not None and now.base == target.base

    def open(self, target: ChatTarget, fit: ChatFit | None = None) -> None:
        """Have the target's base in memory, in the place of another, and its adapter beside it;
        `fit` is what was counted of it.

        An adapter is read again each time: a run that went on has written another.
        """
        if not self.holds(target):
            self._restart(target, fit)
        if target.adapter is not None:
            voice = voice_of(target)
            self._adapters.append(voice)
            if self.state.phase == "ready":
                self._now(label=f"loading the adapter {clean(target.name)}", problem="")
            self._send(LoadAdapter(name=voice, path=str(target.adapter)))

    def ask(
        self,
        voice: str,
        turns: tuple[Turn, ...],
        sampling: Sampling,
        *,
        strength: float = 1.0,
        begun: str = "",
        plain: bool = False,
    ) -> str:
        """Ask; answers come one after the other, also those asked while the base loads."""
        id = uuid.uuid4().hex
        return self._put_question(
            Ask(
                id=id,
                name=voice,
                turns=turns,
                sampling=sampling,
                strength=strength,
                begun=begun,
                plain=plain,
            )
        )

    def predict(self, voice: str, text: str) -> str:
        """Have a classifier say what `text` is."""
        return self._put_question(Predict(id=uuid.uuid4().hex, name=voice, text=text))

    def _put_question(self, question: Ask | Predict) -> str:
        self._asked.append(question.id)
        if self.state.alive:
            self._send(question)
        else:
            self._over(question.id, None, self.state.problem or "no model is loaded.")
        return question.id

    def cancel(self, id: str) -> None:
        self._send(Cancel(id=id))

    def wait(self, target: ChatTarget, label: str) -> None:
        """Say that a target is waited for; what is in memory is put away, and nothing is loaded."""
        self.close()
        self._put(LinkState("waiting", target, label, time.monotonic()))

    def close(self) -> None:
        """End the worker; what it held is free a moment later."""
        pipe, self._pipe = self._pipe, None
        self._serial += 1
        self._unsent.clear()
        self._adapters.clear()
        self._fail_all("the model was put away.")
        if pipe is not None:
            # Not a daemon: leaving waits until the worker is gone.
            threading.Thread(target=pipe.close, name="chat-end").start()
        self._put(LinkState())

    # Starting.

    def _restart(self, target: ChatTarget, fit: ChatFit | None) -> None:
        before, self._pipe = self._pipe, None
        self._serial += 1
        self._unsent.clear()
        self._adapters.clear()
        self._fail_all("another model took its place.")
        label = "starting" if before is None else "putting the other model away"
        self._put(LinkState("loading", target, label, time.monotonic(), fit=fit))
        args = (target, before, self._serial)
        threading.Thread(target=self._start, args=args, name="chat-start", daemon=True).start()

    def _start(self, target: ChatTarget, before: Pipe | None, serial: int) -> None:
        if before is not None:
            before.close()
        grown = Growing()

        def heard(message: FromChat) -> None:
            due = grown.due(message)
            if due is not None:
                self._hand_over(lambda: self._heard(serial, due))

        try:
            pipe: Pipe = PipeWorker(
                start_chat(target),
                sends=TO_CHAT,
                hears=FROM_CHAT,
                on_message=heard,
                on_end=lambda code, words: self._hand_over(
                    lambda: self._ended(serial, code, words)
                ),
            )
        except OSError as error:
            why = f"the chat worker could not be started: {error.strerror}."
            self._hand_over(lambda: self._gone(serial, why))
            return
        self._hand_over(lambda: self._started(serial, pipe))

    def _hand_over(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the UI has left
            self._loop.call_soon_threadsafe(call)

    def _started(self, serial: int, pipe: Pipe) -> None:
        if serial != self._serial:
            threading.Thread(target=pipe.close, name="chat-end").start()
            return
        self._pipe = pipe
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._send(message)

    # Hearing.

    def _heard(self, serial: int, message: FromChat) -> None:
        if serial != self._serial:
            return
        match message:
            case AnswerGrew():
                text = clean(message.text)
                self._post(lambda: AnswerCame(message.id, text, message.tokens))
            case AnswerEnded():
                self._over(message.id, message.model_copy(update={"text": clean(message.text)}))
            case Predicted():
                self._over(message.id, message)
            case Loading():
                self._now(label=message.label, expect_s=message.expect_s)
            case Ready():
                label = "loading the adapter" if self._adapters else ""
                self._now(phase="ready", ready=message, label=label, expect_s=None)
            case AdapterLoaded():
                self._adapter_done(self.state.voices | {message.name}, "")
            case ChatFailed(id=str()):
                self._over(message.id or "", None, message.message)
            case ChatFailed(fatal=True):
                self._now(problem=message.message)
            case ChatFailed():
                self._adapter_done(self.state.voices, message.message)
            case _:
                pass

    def _adapter_done(self, voices: frozenset[str], problem: str) -> None:
        # The worker takes them in the order they were sent.
        if self._adapters:
            self._adapters.popleft()
        label = "loading the adapter" if self._adapters else ""
        self._now(voices=voices, label=label, problem=problem)

    def _ended(self, serial: int, code: int, words: str) -> None:
        told = self.state.problem if self.state.phase == "loading" else ""
        self._gone(serial, told or last_words(code, words))

    def _gone(self, serial: int, why: str) -> None:
        if serial != self._serial:
            return
        self._pipe = None
        self._serial += 1
        self._now(phase="ended", label="", expect_s=None, problem=why, voices=frozenset())
        self._fail_all(why)

    # Telling.

    def _now(self, **changes: object) -> None:
        if "label" in changes and changes["label"] != self.state.label:
            changes["since"] = time.monotonic()
        self._put(replace(self.state, **changes))  # type: ignore[arg-type]

    def _put(self, state: LinkState) -> None:
        self.state = state
        self._post(lambda: LinkChanged(state))

    def _over(self, id: str, ended: Ended | None, problem: str = "") -> None:
        if id in self._asked:
            self._asked.remove(id)
            self._post(lambda: AnswerOver(id, ended, problem))

    def _fail_all(self, why: str) -> None:
        for id in list(self._asked):
            self._over(id, None, why)

    def _post(self, make: Callable[[], Message]) -> None:
        for listener in self._listeners:
            listener.post_message(make())

    def _send(self, message: ToChat) -> None:
        if self._pipe is None:
            self._unsent.append(message)
        else:
            self._pipe.send(message)


_LINKS: WeakKeyDictionary[App[object], ChatLink] = WeakKeyDictionary()


def link_of(app: App[object]) -> ChatLink:
    """The app's one link, made when it is first asked for: two bases would not fit a card."""
    if app not in _LINKS:
        _LINKS[app] = ChatLink(asyncio.get_running_loop())
    return _LINKS[app]
