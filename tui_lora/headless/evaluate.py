"""An evaluation in a plain terminal or a pipe: base against tuned."""

from __future__ import annotations

import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import (
    FROM_EVALUATE,
    TO_EVALUATE,
    CancelEvaluation,
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
from tui_lora.core.text import clean, duration, number
from tui_lora.headless.evaluation_text import lines_of
from tui_lora.headless.follow import to_stdout
from tui_lora.store import sessions
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.chat_room import ChatRoom, held_to, look_for_room
from tui_lora.store.evaluation_order import Wanted, order_of, target_of
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.pipe import PipeWorker

_LINE_S = 5.0
_KEPT = "What was measured is kept; the same command goes on from there."

_Worker = PipeWorker[ToEvaluate, FromEvaluate]


@dataclass(frozen=True)
class _Gone:
    code: int
    words: str


class _CtrlC:
    """The user pressed it for the first time."""


_Heard = queue.SimpleQueue[FromEvaluate | _Gone | _CtrlC]


def evaluate(
    root: Path, session: str, wanted: Wanted, *, as_json: bool = False, force: bool = False
) -> int:
    """Measure a session's adapter and print what was found; 130 when it was cancelled.

    Raises UserError for what cannot be measured, as far as files tell before anything is loaded.
    """
    paths = sessions.find(root, session)
    target = target_of(paths, wanted)
    order_of(paths, target, wanted)
    target = _with_room(root, target, force=force)
    heard: _Heard = queue.SimpleQueue()
    worker: _Worker = PipeWorker(
        start_pipe_worker("evaluate", devices=target.devices),
        sends=TO_EVALUATE,
        hears=FROM_EVALUATE,
        on_message=heard.put,
        on_end=lambda code, words: heard.put(_Gone(code, words)),
    )
    try:
        worker.send(order_of(paths, target, wanted))
        with _ctrl_c_into(heard):
            ended = _until_ended(worker, heard)
    finally:
        worker.close()
    if as_json:
        to_stdout(json.dumps({**ended.evaluation.as_json(), "path": ended.path}))
    else:
        for line in lines_of(ended.evaluation):
            to_stdout(line)
    if not ended.evaluation.complete:
        _say(f"Cancelled; kept in {ended.path}.")
        _say("The same command goes on from there; --anew begins again.")
        return 130
    _say(f"kept in {ended.path}")
    return 0


def _with_room(root: Path, target: ChatTarget, *, force: bool) -> ChatTarget:
    """The target, held to what was counted where something trains beside it. Raises UserError where
    it does not fit, or nobody knows whether it does and a training could come to harm.

    It is counted as a chat: rows at once are chosen so that they take no more than that.
    """
    room = look_for_room(root, [target])
    fit = room.fit
    told = f"the evaluation {fit.sentence.removeprefix('chat ')}"
    refused = fit.verdict == "does_not_fit" or (fit.verdict == "unknown" and fit.beside)
    if refused and not force:
        raise UserError(told, then=_instead(room))
    if fit.verdict != "fits":
        _say(told)
    return held_to(target, fit)


def _instead(room: ChatRoom) -> str:
    flags = {"cpu": "on the CPU, slowly: --devices cpu", "nf4": "in 4 bits: --quantization nf4"}
    ways = [flags[way.kind] for way in room.ways]
    if room.fit.beside:
        ways.append(f"wait until {room.beside} has ended")
    ways.append("measure all the same: --force")
    return f"Nothing was loaded. You can: {'; '.join(ways)}."


@contextmanager
def _ctrl_c_into(heard: _Heard) -> Iterator[None]:
    """Put the first Ctrl-C among the messages, wherever it comes; a second one is KeyboardInterrupt
    again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def remember(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        heard.put(_CtrlC())

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _until_ended(worker: _Worker, heard: _Heard) -> EvaluationEnded:
    """Tell how it goes until there is a result. The first Ctrl-C cancels, and waits for what is
    being computed. Raises UserError."""
    teller = _Teller()
    while True:
        message = heard.get()
        if isinstance(message, _CtrlC):
            worker.send(CancelEvaluation())
            _say("Cancelling: what is measured by then is kept. Once more ends at once.")
            continue
        if isinstance(message, EvaluationEnded):
            return message
        if isinstance(message, EvaluationFailed):
            then = f"{message.then} {_KEPT if message.kept else ''}".strip()
            raise UserError(message.message, then=then, exit_code=message.exit_code)
        if isinstance(message, _Gone):
            last = message.words.splitlines()[-1] if message.words else "it said nothing"
            raise UserError(
                f"the evaluate worker ended (exit code {message.code}): {last}",
                then=_KEPT if teller.kept else "Nothing was measured yet.",
                exit_code=1,
            )
        teller.tell(message)


class _Teller:
    """Decides what is worth a line, and when. `kept`: rows are measured by now."""

    def __init__(self) -> None:
        self.kept = False
        self._last, self._part = 0.0, ""
        self._so_far: dict[str, str] = {}

    def tell(self, message: FromEvaluate) -> None:
        if isinstance(message, Preparing):
            expect = f" (about {duration(message.expect_s)})" if message.expect_s else ""
            _say(f"{message.label}{expect} …")
        elif isinstance(message, EvaluationNotice):
            _say(f"! {message.text}")
        elif isinstance(message, EvaluationPlanned):
            self.kept = any(part.done for part in message.parts)
            self._plan(message)
        elif isinstance(message, FigureSoFar):
            figures = f"{number(message.base)} to {number(message.tuned)}"
            self._so_far = {message.name: f"{message.name} so far {figures}"}
        elif isinstance(message, EvaluationProgressed):
            self.kept = self.kept or message.done > 0
            self._progress(message)

    def _plan(self, planned: EvaluationPlanned) -> None:
        for part in planned.parts:
            of = f" of {part.of:,}" if part.of != part.rows else ""
            done = f", {part.done:,} done before" if part.done else ""
            _say(f"{part.part}: {part.rows:,} rows{of} in {part.batches:,} batches{done}")
        for choice in planned.choices:
            if choice.setting in ("metrics", "rows answered at once") or "rows" in choice.setting:
                _say(f"{choice.setting}: {choice.value} ({choice.reason})")

    def _progress(self, how: EvaluationProgressed) -> None:
        now = time.monotonic()
        last = how.part_done == how.part_rows
        if how.part != self._part:
            self._part, self._so_far = how.part, {}
        elif not last and now - self._last < _LINE_S:
            return
        self._last = now
        line = f"{how.part}: {how.part_done:,} of {how.part_rows:,}"
        if how.rows_per_s:
            line += f"   {number(how.rows_per_s)} rows/s   {duration(how.eta_s)} left"
        for more in (how.now, *self._so_far.values()):
            line += f"   {more}" if more else ""
        _say(line)


def _say(words: str) -> None:
    sys.stderr.write(f"{clean(words)}\n")
    sys.stderr.flush()
