"""The viewer's end of the evaluate worker: one evaluation at a time, whatever screen is shown.

All of it runs in the UI's thread but the start and the end of the process, which block.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from textual.message import Message
from textual.message_pump import MessagePump

from tui_lora.core.evaluate import (
    FROM_EVALUATE,
    TO_EVALUATE,
    CancelEvaluation,
    Evaluate,
    EvaluationEnded,
    EvaluationFailed,
    EvaluationNotice,
    EvaluationPlanned,
    EvaluationProgressed,
    FigureSoFar,
    FromEvaluate,
    Preparing,
    ToEvaluate,
)
from tui_lora.core.text import clean
from tui_lora.store import launch
from tui_lora.store.pipe import PipeWorker
from tui_lora.ui import left_words

if TYPE_CHECKING:
    from textual.app import App

    from tui_lora.core.chat_fit import ChatFit
    from tui_lora.store.paths import SessionPaths

_KILLED = -9

Pipe = PipeWorker[ToEvaluate, FromEvaluate]


@dataclass(frozen=True)
class Evaluating:
    """What is measured now. `since`: monotonic seconds when `label` began; `so_far` by name, of the
    part at work; `fit`: what was counted of it before it was loaded."""

    phase: Literal["off", "preparing", "measuring"] = "off"
    paths: SessionPaths | None = None
    asked: Evaluate | None = None
    label: str = ""
    since: float = 0.0
    expect_s: float | None = None
    planned: EvaluationPlanned | None = None
    progress: EvaluationProgressed | None = None
    so_far: Mapping[str, FigureSoFar] = field(default_factory=dict)
    notice: str = ""
    cancelling: bool = False
    fit: ChatFit | None = None

    @property
    def alive(self) -> bool:
        return self.phase != "off"

    @property
    def kept(self) -> bool:
        """Whether rows are measured by now, by this one or the one that it goes on with."""
        before = self.planned is not None and any(part.done for part in self.planned.parts)
        return before or (self.progress is not None and self.progress.done > 0)


class EvaluationChanged(Message, bubble=False):
    """It is further than it was."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, EvaluationChanged)


class EvaluationOver(Message, bubble=False):
    """There is a result, or `problem` says why there is none and `then` what to do."""

    def __init__(
        self, paths: SessionPaths, ended: EvaluationEnded | None, problem: str = "", then: str = ""
    ) -> None:
        self.paths, self.ended, self.problem, self.then = paths, ended, problem, then
        super().__init__()


class EvaluateLink:
    """Begins, cancels and ends an evaluation; tells its listeners what came of it by messages."""

    def __init__(self, app: App[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.now = Evaluating()
        self.pipe: Pipe | None = None
        self._app, self._loop = app, loop
        self._listeners: list[MessagePump] = []
        self._serial = 0

    def tell(self, listener: MessagePump) -> None:
        """Post what happens to `listener` from now on."""
        self._listeners.append(listener)

    def forget(self, listener: MessagePump) -> None:
        """No longer; without anybody who listens the worker ends, which is when the viewer is left.
        What was measured stays."""
        self._listeners.remove(listener)
        if self._listeners or self.now.paths is None:
            return
        name = self.now.paths.name
        ended = f"The evaluation of {name} was ended, before anything was measured."
        if self.now.kept:
            ended = (
                f"The evaluation of {name} was ended; what it measured is kept.\n"
                f"The same one goes on from there: v on Results, or tui-lora eval {name}."
            )
        left_words.add(self._app, ended)
        self.end()

    def begin(self, paths: SessionPaths, asked: Evaluate, fit: ChatFit | None = None) -> None:
        """Start a worker and tell it what to measure; there must be none at work."""
        assert not self.now.alive
        self._serial += 1
        self._put(Evaluating("preparing", paths, asked, "starting", time.monotonic(), fit=fit))
        args = (asked, self._serial)
        threading.Thread(target=self._start, args=args, name="evaluate", daemon=True).start()

    def cancel(self) -> None:
        """End after what is being computed, and keep what was measured; a second time at once."""
        if not self.now.alive:
            return
        paths = self.now.paths
        sent = self.pipe is not None and not self.now.cancelling
        if sent and self.pipe is not None and self.pipe.send(CancelEvaluation()):
            self._put(replace(self.now, cancelling=True))
            return
        then = KEPT if self.now.kept else ""
        self.end()
        if paths is not None:
            self._post(lambda: EvaluationOver(paths, None, "the evaluation was ended.", then))

    def end(self) -> None:
        """End the worker at once; what it held is free a moment later."""
        pipe, self.pipe = self.pipe, None
        self._serial += 1
        self._put(Evaluating())
        if pipe is not None:
            # Not a daemon: leaving waits until the worker is gone.
            threading.Thread(target=pipe.close, name="evaluate-end").start()

    def _start(self, asked: Evaluate, serial: int) -> None:
        def heard(message: FromEvaluate) -> None:
            self._hand_over(lambda: self._heard(serial, message))

        def ended(code: int, words: str) -> None:
            self._hand_over(lambda: self._gone(serial, code, words))

        try:
            process = launch.start_pipe_worker("evaluate", devices=asked.devices)
        except OSError as error:
            why = error.strerror or str(error)
            self._hand_over(lambda: self._gone(serial, -1, why))
            return
        pipe: Pipe = PipeWorker(
            process, sends=TO_EVALUATE, hears=FROM_EVALUATE, on_message=heard, on_end=ended
        )
        pipe.send(asked)
        self._hand_over(lambda: self._started(serial, pipe))

    def _hand_over(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the UI has left
            self._loop.call_soon_threadsafe(call)

    def _started(self, serial: int, pipe: Pipe) -> None:
        if serial == self._serial:
            self.pipe = pipe
        else:
            threading.Thread(target=pipe.close, name="evaluate-end").start()

    # Hearing.

    def _heard(self, serial: int, message: FromEvaluate) -> None:
        now = self.now
        if serial != self._serial or now.paths is None:
            return
        match message:
            case Preparing():
                since = now.since if message.label == now.label else time.monotonic()
                label, expect = clean(message.label), message.expect_s
                self._put(replace(now, label=label, since=since, expect_s=expect))
            case EvaluationPlanned():
                self._put(replace(now, phase="measuring", label="", planned=message))
            case EvaluationProgressed():
                other = now.progress is None or now.progress.part != message.part
                self._put(replace(now, progress=message, so_far={} if other else now.so_far))
            case FigureSoFar():
                self._put(replace(now, so_far={**now.so_far, message.name: message}))
            case EvaluationNotice():
                self._put(replace(now, notice=clean(message.text)))
            case EvaluationEnded():
                self._over(now.paths, message)
            case EvaluationFailed():
                kept = KEPT if message.kept else ""
                then = clean(f"{message.then} {kept}".strip())
                self._over(now.paths, None, clean(message.message), then)

    def _gone(self, serial: int, code: int, words: str) -> None:
        paths = self.now.paths
        if serial != self._serial or paths is None:
            return
        last = words.splitlines()[-1] if words else "it said nothing"
        why = f"the evaluate worker ended (exit code {code}): {clean(last, max_chars=200)}"
        if code == _KILLED:
            why = "the system ended the evaluate worker, which it does where memory runs out."
        self._over(paths, None, why, KEPT if self.now.kept else "")

    def _over(
        self, paths: SessionPaths, ended: EvaluationEnded | None, why: str = "", then: str = ""
    ) -> None:
        self.end()
        self._post(lambda: EvaluationOver(paths, ended, why, then))

    # Telling.

    def _put(self, now: Evaluating) -> None:
        self.now = now
        self._post(EvaluationChanged)

    def _post(self, make: Callable[[], Message]) -> None:
        for listener in self._listeners:
            listener.post_message(make())


KEPT = "What was measured is kept; the same evaluation goes on from there."

_LINKS: WeakKeyDictionary[App[Any], EvaluateLink] = WeakKeyDictionary()


def evaluate_link_of(app: App[Any]) -> EvaluateLink:
    """The app's one link, made when it is first asked for."""
    if app not in _LINKS:
        _LINKS[app] = EvaluateLink(app, asyncio.get_running_loop())
    return _LINKS[app]
