"""What an attempt came to: its last word in result.json, in words that help."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tui_lora.core.events import MemoryHolder, MemoryRanOut, Result, Verdict
from tui_lora.core.out_of_memory import asked_for, gib, happened
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.checkpoints import newest_whole
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.progress import Progress, finite
from tui_lora.worker.retry import NoRetry, Retry

EXIT_CODES: dict[str, int] = {"done": 0, "stopped": 0, "paused": 0, "failed": 1, "out_of_memory": 3}
_HOLDERS_TOLD = 3
_MENDS_TOLD = 3


class Outcome:
    """What result.json will say; filled in as the run goes."""

    def __init__(self, attempt: int, step: int) -> None:
        self.attempt, self._begun_at = attempt, step
        self.verdict: Verdict = "failed"
        self.message = ""
        self.total_steps: int | None = None
        self.adapter_bytes: int | None = None
        self.progress: Progress | None = None
        self.onward: Mapping[str, Any] = {}
        """Settings that were promised for when the run has loaded anew."""
        self.loads_anew = False
        """It ended to do so at once."""
        self.trainer: Any = None
        """What the run trains with, from when it is ready."""

    @property
    def step(self) -> int:
        return self.progress.step if self.progress else self._begun_at

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.verdict, 1)

    def failed(self, error: BaseException) -> None:
        """The run ended by an exception that nobody meant."""
        self.verdict = "failed"
        first = next(iter(clean(str(error)).strip().splitlines()), "") or "no message"
        self.message = f"{type(error).__name__}: {first[:500]} (worker.log has the whole of it)"

    def paused(self, paths: SessionPaths, why: str, unsaved: str = "") -> None:
        """The run ended to go on later; where its checkpoint could not be written, `unsaved` says
        why, and then it is no pause."""
        if unsaved:
            self.unsaved(paths, why, unsaved)
            return
        self.verdict = "paused"
        self.message = f"at step {self.step} of {self.total_steps}, {why}; {self._from(paths)}"

    def unsaved(self, paths: SessionPaths, why: str, disk: str) -> None:
        """The run ended for a reason, and its last checkpoint could not be written."""
        self.verdict = "failed"
        self.message = (
            f"at step {self.step} of {self.total_steps}, {why}, but its checkpoint could not be "
            f"written: {disk}. {self._from(paths).capitalize()}."
        )

    def done(self, paths: SessionPaths, disk: str = "") -> None:
        """All steps are taken and the adapter is saved; `disk` says why the last checkpoint is not,
        which only a longer run would miss."""
        self.verdict = "done"
        if disk:
            self.message = (
                f"the adapter is saved, but the checkpoint of step {self.step} could not be "
                f"written: {disk}. Made longer, {self._from(paths)}."
            )

    def ended_first(self, inbox: Inbox, step: int) -> None:
        """The end was ordered as the run was to load anew and go on from a checkpoint."""
        self.verdict = "paused" if inbox.ending == "pause" else "stopped"
        self.message = f"{inbox.stop_reason}, before it loaded anew; it goes on from step {step:,}"

    def discarded(self, paths: SessionPaths, why: str) -> None:
        """The run ended at once and saved nothing."""
        self.verdict = "stopped"
        self.message = f"without saving, {why}; {self._from(paths)}"

    def _from(self, paths: SessionPaths) -> str:
        """Where a run that is resumed begins, by what is whole on the disk."""
        found, passed_over = newest_whole(paths.checkpoints)
        if found is not None:
            return f"it goes on from step {found.step}"
        if passed_over:
            return "no checkpoint of it is whole, so it would begin anew"
        return "it has no checkpoint, so it would begin anew"

    def ran_out(self, event: MemoryRanOut, mends: Sequence[str], then: Retry | NoRetry) -> None:
        """Memory ran out. `mends` are changes with which the run could go on, the mildest first."""
        self.verdict = "out_of_memory"
        most = sorted(event.held, key=lambda holder: holder.gib, reverse=True)[:_HOLDERS_TOLD]
        said = [
            "memory ran out.",
            happened(event),
            asked_for(event),
            f"Most was held by {', '.join(_holding(one) for one in most)}." if most else "",
            f"No retry: {then.why}." if isinstance(then, NoRetry) and then.why else "",
            f"What makes it smaller: {'; '.join(mends[:_MENDS_TOLD])}." if mends else "",
        ]
        self.message = " ".join(filter(None, said))

    def write(self, paths: SessionPaths, seconds: float) -> None:
        """Write result.json whole; raises OSError."""
        progress = self.progress or Progress()
        base, tuned = progress.base_eval, progress.tuned_eval
        result = Result(
            attempt=self.attempt,
            verdict=self.verdict,
            step=self.step,
            total_steps=self.total_steps,
            message=self.message,
            seconds=round(seconds, 3),
            loss=progress.last_loss,
            base_eval_loss=base.loss if base else None,
            eval_loss=tuned.loss if tuned else None,
            base_metrics=finite(base.metrics) if base else {},
            metrics=finite(tuned.metrics) if tuned else {},
            adapter_bytes=self.adapter_bytes,
            finished=round(time.time(), 3),
        )
        write_whole(paths.result, result.model_dump_json(indent=1) + "\n")


def _holding(holder: MemoryHolder) -> str:
    return f"{holder.name} ({gib(holder.gib)} GiB)"
