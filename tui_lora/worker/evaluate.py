"""The evaluate worker, for one viewer over pipes: measures one adapter of a session, then waits to
be told to measure another, until the end of input."""

from __future__ import annotations

import queue
import sys
import threading
import traceback

from tui_lora.core.evaluate import (
    FROM_EVALUATE,
    TO_EVALUATE,
    CancelEvaluation,
    Evaluate,
    EvaluationFailed,
    FromEvaluate,
    ToEvaluate,
)
from tui_lora.core.text import clean
from tui_lora.worker.evaluation import BrokenOff, CalledOff, evaluate, why_not
from tui_lora.worker.stdio import Stdio


def main() -> int:
    """Serve until the end of input, which ends the process."""
    pipes: Stdio[FromEvaluate, ToEvaluate] = Stdio(says=FROM_EVALUATE, hears=TO_EVALUATE)
    asked: queue.SimpleQueue[Evaluate] = queue.SimpleQueue()
    cancelled = threading.Event()

    def hear(message: ToEvaluate) -> None:
        if isinstance(message, CancelEvaluation):
            cancelled.set()
        elif isinstance(message, Evaluate):
            cancelled.clear()
            asked.put(message)

    pipes.listen(hear)
    while True:
        pipes.say(_answer(asked.get(), pipes, cancelled))


def _answer(
    asked: Evaluate, pipes: Stdio[FromEvaluate, ToEvaluate], cancelled: threading.Event
) -> FromEvaluate:
    """The result, or the sentence that says why there is none; never raises."""
    try:
        return evaluate(asked, pipes.say, cancelled)
    except CalledOff:
        return EvaluationFailed(message="cancelled before anything was measured.", exit_code=130)
    except BrokenOff as broken:
        return _failed(broken.__cause__ or broken, kept=str(broken.path))
    except Exception as error:  # noqa: BLE001 a viewer needs a sentence, whatever it was
        return _failed(error)


def _failed(error: BaseException, kept: str = "") -> EvaluationFailed:
    traceback.print_exception(error, file=sys.stderr)
    told = why_not(error)
    what = f"{told.where}: {told.what}" if told.where else told.what
    return EvaluationFailed(
        message=clean(what), then=told.then, exit_code=told.exit_code, kept=clean(kept)
    )
