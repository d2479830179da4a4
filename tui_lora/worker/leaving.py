"""The end of an attempt: its last words, the user's own command, the next of the queue."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping

from tui_lora.core.events import AttemptFinished, OrderAnswered
from tui_lora.core.orders import ORDERS, Discard, Pause, Stop
from tui_lora.core.spec import RunSpec
from tui_lora.store import launch
from tui_lora.store.hooks import HOOK_PHASE, is_confirmed
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.handing_on import HandingOn
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.outcome import Outcome
from tui_lora.worker.reporter import Reporter


def leave(
    paths: SessionPaths,
    spec: RunSpec | None,
    outcome: Outcome,
    inbox: Inbox,
    reporter: Reporter,
    environment: Mapping[str, str],
    seconds: float,
) -> int:
    """Say what the attempt came to after so many `seconds`; returns the exit code. `environment` is
    what the worker was started with."""
    _answer_the_rest(inbox, outcome, reporter)
    handing_on = HandingOn(paths, environment)
    handing_on.announce(outcome.verdict, inbox, reporter)
    reporter.say(
        AttemptFinished(
            step=outcome.step,
            attempt=outcome.attempt,
            verdict=outcome.verdict,
            message=outcome.message,
        )
    )
    code = outcome.exit_code
    try:
        outcome.write(paths, seconds)
    except OSError:
        # The log has said it, and the others in the queue must not wait for a disk.
        traceback.print_exc()
        code = code or 1
    command = spec.hooks.on_finish if spec is not None else None
    if command is not None and not is_confirmed(command):
        reporter.notice(
            "hooks.on_finish was not run: the command was not confirmed on this machine", "warning"
        )
    elif command is not None:
        # Signs of life go on meanwhile: the run is over, and its process is not.
        with reporter.phase(HOOK_PHASE, "running your command (hooks.on_finish)"):
            _run_hook(command, paths, outcome)
        _answer_the_rest(inbox, outcome, reporter)
    reporter.close()
    handing_on.begin()
    return code


def _answer_the_rest(inbox: Inbox, outcome: Outcome, reporter: Reporter) -> None:
    """No order stays without an answer."""
    for kind in ORDERS.types:
        for order in inbox.take(kind):
            reached = isinstance(order, Stop | Pause | Discard)
            said = f"{outcome.verdict} at step {outcome.step}" if reached else "the run has ended"
            reporter.say(OrderAnswered(id=order.id, ok=reached, message=said))


def _run_hook(command: str, paths: SessionPaths, outcome: Outcome) -> None:
    """What it says goes to worker.log."""
    told = {
        "TUI_LORA_SESSION": str(paths.folder),
        "TUI_LORA_VERDICT": outcome.verdict,
        "TUI_LORA_MESSAGE": outcome.message,
    }
    words = launch.run_hook(command, told, paths)
    print(f"hooks.on_finish: {words}", file=sys.stderr)  # noqa: T201
