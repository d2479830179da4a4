"""A run that goes on by itself, as a new worker in the place of this one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tui_lora.core.events import OrderAnswered
from tui_lora.core.orders import ChangeSpec, GoOn, Hold, Peek, SaveCheckpoint
from tui_lora.core.text import clean
from tui_lora.store import launch
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.outcome import Outcome
from tui_lora.worker.reporter import Reporter
from tui_lora.worker.retry import Retry


@dataclass(frozen=True)
class Anew:
    """`held` is the lock's descriptor, `accept` what may be otherwise than when the run was last
    at work, `environment` what the worker was started with."""

    paths: SessionPaths
    held: int
    accept: Collection[str]
    environment: Mapping[str, str]
    reporter: Reporter
    inbox: Inbox
    outcome: Outcome

    def begin(self, retry: Retry, *, before: int | None = None) -> None:
        """Become a new worker, whose memory is empty for certain; returns only where that fails, or
        where the end was ordered meanwhile: the new worker would not hear of it. `before`: its
        checkpoint has to be of an earlier step.

        No last word comes before it: whoever follows the run goes on following.
        """
        with launch.sigterm_waits():
            for kind in (SaveCheckpoint, Hold, GoOn, ChangeSpec, Peek):
                for order in self.inbox.take(kind):
                    # The new worker begins behind what was heard so far.
                    why = "the run had to load anew before it came to that; ask once more"
                    self.reporter.say(OrderAnswered(id=order.id, ok=False, message=why))
            arguments = [
                *launch.asked_of(retry.changes, retry.reason, self.accept),
                *("--retry", str(retry.number), "--heard", str(self.inbox.heard)),
                *(["--before", str(before)] if before is not None else []),
            ]
            try:
                with self.reporter.silence():
                    launch.train_on(
                        *(self.paths, self.held, arguments, self.environment),
                        unless=lambda: self.inbox.stopping,
                    )
            except OSError as error:
                self.outcome.message += f" It could not start again: {clean(str(error))}."
