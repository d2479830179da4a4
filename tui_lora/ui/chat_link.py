"""The viewer's end of the chat worker: one base in memory, shared by every screen that talks.

All of it runs in the UI's thread; what blocks is in `ui/chat_process.py`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from textual.message import Message
from textual.message_pump import MessagePump

from tui_lora.core.chat import (
    AdapterLoaded,
    AdapterUnloaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    Cancel,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Loading,
    LoadModel,
    LookAtTokens,
    MemoryHeld,
    Predict,
    Predicted,
    Ready,
    TokensShown,
    Turn,
    UnloadAdapter,
)
from tui_lora.core.sampling import Sampling
from tui_lora.core.text import clean
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.launch import start_chat
from tui_lora.ui.chat_facts import (
    AnswerCame,
    AnswerOver,
    Ended,
    LinkChanged,
    LinkState,
    TokensCame,
    VoiceGone,
    voice_of,
)
from tui_lora.ui.chat_process import ChatProcess, Pipe

if TYPE_CHECKING:
    from textual.app import App

    from tui_lora.core.chat_fit import ChatFit


class ChatLink:
    """Opens, asks, cancels, closes; tells its listeners what came of it by messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.state = LinkState()
        self.agreed: set[object] = set()
        """Bases that the user wanted loaded though it was not sure that they fit."""
        self.told_of: ChatTarget | None = None
        """Of which base it was said, on another screen, that it stays in memory."""
        self._process = ChatProcess(loop, self._heard, self._gone)
        self._listeners: list[MessagePump] = []
        self._asked: list[str] = []
        self._loading: deque[tuple[str, str]] = deque()
        """What is loaded beside the base and waits for that: its voice, and words for it."""

    @property
    def pipe(self) -> Pipe | None:
        """The worker, once its process was started."""
        return self._process.pipe

    def tell(self, listener: MessagePump) -> None:
        """Post what happens to `listener` from now on."""
        self._listeners.append(listener)

    def forget(self, listener: MessagePump) -> None:
        """No longer; without anybody who listens the worker ends."""
        self._listeners.remove(listener)
        if not self._listeners:
            self.close()

    def holds(self, target: ChatTarget) -> bool:
        """Whether the target's base is in memory already, in its place, or on its way there."""
        now = self.state.target
        return self.state.alive and now is not None and now.loaded_as == target.loaded_as

    def open(self, target: ChatTarget, fit: ChatFit | None = None) -> None:
        """Have the target's base in memory, in the place of another, and its adapter beside it (or
        the whole model that it names); `fit` is what was counted of it.

        An adapter is read again each time: a run that went on has written another.
        """
        if not self.holds(target):
            self._restart(target, fit)
        voice = voice_of(target)
        message: LoadAdapter | LoadModel
        if target.whole is not None:
            message = LoadModel(name=voice, path=str(target.whole))
        elif target.adapter is not None:
            message = LoadAdapter(name=voice, path=str(target.adapter))
        else:
            return
        what = "model" if target.whole is not None else "adapter"
        self._loading.append((voice, f"loading the {what} {clean(target.name)}"))
        if self.state.phase == "ready":
            self._now(label=self._loads(), problem="")
        self._process.send(message)

    def unload(self, voice: str) -> None:
        """Free what a voice holds beside the base, or will: `VoiceGone` says when it is."""
        if voice in self.state.voices or any(voice == loading for loading, _ in self._loading):
            self._process.send(UnloadAdapter(name=voice))

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

    def look_at_tokens(self, look: LookAtTokens) -> None:
        """Ask for the tokens of an answer: `TokensCame`, or `AnswerOver` with what is wrong."""
        self._put_question(look)

    def _put_question(self, question: Ask | Predict | LookAtTokens) -> str:
        self._asked.append(question.id)
        if self.state.alive:
            if self.state.phase == "ready" and self.state.problem:
                self._now(problem="")
            self._process.send(question)
        else:
            self._over(question.id, None, self.state.problem or "no model is loaded.")
        return question.id

    def cancel(self, id: str) -> None:
        self._process.send(Cancel(id=id))

    def wait(self, target: ChatTarget, label: str) -> None:
        """Say that a target is waited for; what is in memory is put away, and nothing is loaded."""
        self.close()
        self._put(LinkState("waiting", target, label, time.monotonic()))

    def close(self) -> None:
        """End the worker; what it held is free a moment later."""
        self._process.close()
        self._loading.clear()
        self._fail_all("the model was put away.")
        self._put(LinkState())

    def _restart(self, target: ChatTarget, fit: ChatFit | None) -> None:
        another = self._process.restart(lambda: start_chat(target))
        self._loading.clear()
        self._fail_all("another model took its place.")
        label = "putting the other model away" if another else "starting"
        self._put(LinkState("loading", target, label, time.monotonic(), fit=fit))

    # Hearing.

    def _heard(self, message: FromChat) -> None:
        match message:
            case AnswerGrew():
                text = clean(message.text)
                self._post(lambda: AnswerCame(message.id, text, message.tokens))
            case AnswerEnded():
                self._over(message.id, message.model_copy(update={"text": clean(message.text)}))
            case Predicted():
                self._over(message.id, message)
            case TokensShown(id=id) if id in self._asked:
                self._asked.remove(id)
                self._post(lambda: TokensCame(message))
            case Loading():
                self._now(label=message.label, expect_s=message.expect_s)
            case Ready():
                self._now(phase="ready", ready=message, label=self._loads(), expect_s=None)
            case AdapterLoaded():
                gib = {**self.state.gib}
                if message.gib is not None:
                    gib[message.name] = message.gib
                self._loaded(
                    message.name,
                    voices=self.state.voices | {message.name},
                    gib=gib,
                    fixed={**self.state.fixed, message.name: message.fixed},
                    warning=message.warning,
                )
            case AdapterUnloaded():
                gib = {**self.state.gib}
                freed = gib.pop(message.name, None)
                self._now(voices=self.state.voices - {message.name}, gib=gib, problem="")
                self._post(lambda: VoiceGone(message.name, freed))
            case MemoryHeld():
                self._now(memory=message)
            case ChatFailed(id=str()):
                self._over(message.id or "", None, message.message)
            case ChatFailed(fatal=True):
                self._now(problem=message.message)
            case ChatFailed(name=str()):
                voice, why = message.name or "", message.message
                self._loaded(voice, problem=why)
                # Where it was there before, it still is as it was.
                if voice not in self.state.voices:
                    self._post(lambda: VoiceGone(voice, problem=why))
            case ChatFailed():
                self._now(problem=message.message)
            case _:
                pass

    def _loaded(self, voice: str, **changes: object) -> None:
        # The worker takes them in the order they were sent.
        if self._loading and self._loading[0][0] == voice:
            self._loading.popleft()
        self._now(label=self._loads(), **changes)

    def _loads(self) -> str:
        """What is loaded beside the base now, in words; nothing is nothing."""
        return self._loading[0][1] if self._loading else ""

    def _gone(self, why: str) -> None:
        told = self.state.problem if self.state.phase == "loading" else ""
        why = told or why
        self._loading.clear()
        self._now(
            phase="ended",
            label="",
            expect_s=None,
            problem=why,
            voices=frozenset(),
            gib={},
            memory=None,
        )
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


_LINKS: WeakKeyDictionary[App[object], ChatLink] = WeakKeyDictionary()


def link_of(app: App[object]) -> ChatLink:
    """The app's one link, made when it is first asked for: two bases would not fit a card."""
    if app not in _LINKS:
        _LINKS[app] = ChatLink(asyncio.get_running_loop())
    return _LINKS[app]
