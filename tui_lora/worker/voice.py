"""The voice of a trainer: its callbacks become events, and orders its control flags."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from tui_lora.core.events import PhaseFinished, PhaseStarted, StepDone
from tui_lora.core.metrics import METRICS
from tui_lora.worker.creeping import Creeping

if TYPE_CHECKING:
    from tui_lora.worker.trainer import Session

GIB = 2**30
_FIRST = "first_step"

_LOGGED = {
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "rewards/accuracies": "preferred",
    "kl": "kl",
    "penalty": "penalty",
}
"""What the logs call the figures beside the loss (trl's, of preferences), and what they are called
here."""


def logged_metrics(logs: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The task's figures among a trainer's logs, in the order in which they are shown.

    The margin is the difference of what is shown beside it: of KTO's micro-batches trl averages it
    over those alone that hold good and bad answers.
    """
    found = {
        ours: float(logs[prefix + theirs])
        for theirs, ours in _LOGGED.items()
        if prefix + theirs in logs
    }
    if "chosen_reward" in found and "rejected_reward" in found:
        found["margin"] = found["chosen_reward"] - found["rejected_reward"]
        if found["chosen_reward"] == found["rejected_reward"] == 0:
            # An untouched adapter rewards nothing: every pair is a tie, which is no "0 preferred".
            found.pop("preferred", None)
    return {metric.name: found[metric.name] for metric in METRICS if metric.name in found}


class CutShort(Exception):
    """A stop was ordered while the held-out rows were being measured."""


class Discarded(Exception):
    """The run is to end at once, with nothing saved."""


class Voice(TrainerCallback):
    """Reports a trainer's steps, and has it stop, save and evaluate when that is asked for."""

    def __init__(self, trainer: Session, patience: int | None, stop_by: str = "loss") -> None:
        self._trainer = trainer
        self._patience, self._stop_by = patience, stop_by
        self._best: float | None = None
        self._worse = 0
        self._began = 0.0
        self._step_s = 0.0
        self._since_report_s = 0.0
        self._since_report_tokens = 0
        self._recent_s: deque[float] = deque(maxlen=50)
        self._first = True
        self._rows_measured = 0
        self._creeping = Creeping(trainer.reporter)
        for earlier in trainer.progress.evaluations:
            by_loss = stop_by == "loss"
            self._compare(earlier.loss if by_loss else -earlier.metrics.get(stop_by, 0.0))

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # A checkpoint brings the intervals with which it was saved; those of now count.
        state.compute_steps(args, state.max_steps)

    def on_step_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began = time.monotonic()
        if not self._recent_s:
            # Kernels are chosen and memory is taken in it: many times as long as the others.
            self._trainer.reporter.say(PhaseStarted(name=_FIRST, label="taking the first step"))

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        trainer = self._trainer
        tokens = trainer.take_tokens()
        self._step_s = time.monotonic() - self._began
        if not self._recent_s:
            trainer.reporter.say(PhaseFinished(name=_FIRST, seconds=self._step_s))
        self._since_report_s += self._step_s
        self._since_report_tokens += tokens
        self._recent_s.append(self._step_s)
        trainer.progress.tokens_seen += tokens
        trainer.progress.step = state.global_step
        trainer.inbox.read()
        if trainer.inbox.discarding:
            raise Discarded
        if trainer.inbox.stopping:
            control.should_training_stop = True
            control.should_save = True
            control.should_log = True
        if trainer.inbox.wants_checkpoint():
            control.should_save = True
        if state.global_step >= state.max_steps:
            # The last step is where the figures of the finished run come from.
            control.should_log = True
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True
        if not control.should_log:
            self._report(state, {}, always=False)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        self._trainer.progress.last_loss = logs["loss"]
        always = self._first or control.should_evaluate or control.should_training_stop
        always = always or state.global_step >= state.max_steps
        self._first = False
        self._report(state, logs, always=always)

    def on_prediction_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.inbox.read()
        if self._trainer.inbox.discarding:
            raise Discarded
        if self._trainer.inbox.stopping:
            self._rows_measured = 0
            raise CutShort
        self._rows_measured += args.per_device_eval_batch_size
        rows = len(self._trainer.eval_dataset)
        self._trainer.reporter.progress("evaluating", min(rows, self._rows_measured), rows, "rows")

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        self._rows_measured = 0
        trainer = self._trainer
        found = trainer.grade(self._stop_by)
        if found is None:
            return
        self._compare(found)
        if self._patience is not None and self._worse >= self._patience:
            control.should_training_stop = True
            control.should_save = True
            what = "eval loss" if self._stop_by == "loss" else "macro F1"
            trainer.reporter.notice(
                f"early stopping: the {what} was not better {self._worse} times in a row"
            )

    def _compare(self, found: float) -> None:
        """With the best so far; the less the better."""
        if self._best is None or found < self._best:
            self._best, self._worse = found, 0
        else:
            self._worse += 1

    def _report(
        self,
        state: TrainerState,
        logs: Mapping[str, Any],
        *,
        always: bool,
    ) -> None:
        trainer = self._trainer
        seconds, tokens = self._since_report_s, self._since_report_tokens
        left = max(0, state.max_steps - state.global_step)
        held = memory()
        self._creeping.see(state.global_step, state.max_steps, held)
        trainer.reporter.step(
            StepDone(
                step=state.global_step,
                epoch=float(state.epoch or 0.0),
                loss=logs.get("loss"),
                learning_rate=logs.get("learning_rate"),
                grad_norm=logs.get("grad_norm"),
                tokens_per_s=tokens / seconds if seconds > 0 and tokens else None,
                tokens_seen=trainer.progress.tokens_seen,
                step_s=self._step_s,
                eta_s=left * statistics.median(self._recent_s) if self._recent_s else None,
                metrics=logged_metrics(logs),
                **held,
            ),
            always=always,
        )
        self._since_report_s, self._since_report_tokens = 0.0, 0


def memory() -> dict[str, float | None]:
    """Memory in GiB: torch's own on a card, and what all processes hold there; else resident."""
    process = psutil.Process().memory_info().rss / GIB
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {"process_gib": process}
    free, total = torch.cuda.mem_get_info()
    return {
        "process_gib": process,
        "allocated_gib": torch.cuda.memory_allocated() / GIB,
        "reserved_gib": torch.cuda.memory_reserved() / GIB,
        "peak_allocated_gib": torch.cuda.max_memory_allocated() / GIB,
        "peak_reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "card_used_gib": (total - free) / GIB,
    }
