"""trl's SFTTrainer with a voice: it reports, hears orders, and saves checkpoints that are whole."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTTrainer

from tui_lora.core.events import CheckpointSaved, Evaluated, OrderAnswered, StepDone
from tui_lora.core.orders import SaveCheckpoint
from tui_lora.store.checkpoints import folder_name, prune, seal
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.lora import set_adapter_dtype
from tui_lora.worker.reporter import Reporter

GIB = 2**30


@dataclass
class Progress:
    """What outlives an attempt and what the last words of one are made from.

    `evaluations` are the held-out losses so far, the base's (at step 0) among them.
    """

    step: int = 0
    tokens_seen: int = 0
    evaluations: list[Evaluated] = field(default_factory=list)
    last_loss: float | None = None

    @property
    def base_eval_loss(self) -> float | None:
        return next((found.loss for found in self.evaluations if not found.step), None)

    @property
    def eval_loss(self) -> float | None:
        """The latest of a trained adapter."""
        return next((found.loss for found in reversed(self.evaluations) if found.step), None)


class SessionTrainer(SFTTrainer):
    """Trains a session. Everything that is not reporting or saving is trl's."""

    def __init__(
        self,
        *arguments: Any,
        reporter: Reporter,
        inbox: Inbox,
        checkpoints: Path,
        keep: int,
        adapter_dtype: torch.dtype,
        progress: Progress,
        patience: int | None = None,
        **named: Any,
    ) -> None:
        self.reporter, self.inbox, self.progress = reporter, inbox, progress
        self._checkpoints, self._keep = checkpoints, keep
        self._adapter_dtype = adapter_dtype
        self._micro_tokens: list[torch.Tensor] = []
        self._eval_nats: torch.Tensor | None = None
        self._eval_tokens: torch.Tensor | None = None
        super().__init__(*arguments, **named)
        # trl makes a quantized base's adapter bfloat16; what it shall be was decided apart.
        set_adapter_dtype(self.model, adapter_dtype)
        # What it prints stands in the events already.
        self.remove_callback(PrinterCallback)
        self.add_callback(_Voice(self, patience))

    def restore(self, checkpoint: Path) -> None:
        """Be as the run was at a checkpoint, without training on: its last step was taken."""
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        self._load_from_checkpoint(str(checkpoint))
        losses = (entry["loss"] for entry in reversed(self.state.log_history) if "loss" in entry)
        self.progress.last_loss = next(losses, None)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        mask = inputs.get("attention_mask")
        labels = inputs["labels"]
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            # Summed on the device and read at the step's end: a read here would wait for the card.
            tokens = mask.sum() if mask is not None else torch.tensor(labels.numel())
            self._micro_tokens.append(tokens)
        else:
            loss = result[0] if return_outputs else result
            trained = (labels[..., 1:] != -100).sum()
            nats = loss.detach().double() * trained
            self._eval_nats = nats if self._eval_nats is None else self._eval_nats + nats
            self._eval_tokens = (
                trained if self._eval_tokens is None else self._eval_tokens + trained
            )
        return result

    def planned_steps(self) -> int:
        """Optimizer steps of the whole run, by the trainer's own reckoning."""
        loader = self.get_train_dataloader()
        return int(self.set_initial_training_values(self.args, loader)[-1])

    def planned_epochs(self, steps: int) -> float:
        """How often every row is seen in `steps` steps: max steps, when given, decides."""
        if self.args.max_steps <= 0:
            return float(self.args.num_train_epochs)
        micro_batches = steps * self.args.gradient_accumulation_steps
        return micro_batches / len(self.get_train_dataloader())

    def rows_at_max_length(self) -> int:
        """Rows that reach max length; packed ones all do, and are not cut by it."""
        if self.args.packing:
            return 0
        return sum(len(ids) >= self.args.max_length for ids in self.train_dataset["input_ids"])

    def take_tokens(self) -> int:
        """Tokens of the micro-batches since the last call, without padding."""
        taken = sum(int(tokens) for tokens in self._micro_tokens)
        self._micro_tokens = []
        return taken

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """The loss a trained token over the held-out rows.

        transformers averages over batches, which gives short answers more weight than long ones;
        here every token counts the same, as perplexity wants it.
        """
        self._eval_nats = self._eval_tokens = None
        began = time.monotonic()
        step = self.state.global_step
        metrics: dict[str, float] = {}
        with self.reporter.phase("evaluating", f"measuring the held-out rows at step {step}"):
            try:
                metrics = super().evaluate(*arguments, **named)
            except _CutShort:
                # Over thousands of rows this takes minutes, and the user wants to stop now.
                self._eval_nats = self._eval_tokens = None
                self.control.should_training_stop = self.control.should_save = True
                self.reporter.notice(f"the evaluation at step {step} was cut short by the stop")
        loss = self.current_eval_loss()
        if loss is not None:
            metrics["eval_loss"] = loss
            found = Evaluated(
                step=step,
                loss=loss,
                rows=len(self.eval_dataset),
                seconds=time.monotonic() - began,
            )
            self.progress.evaluations.append(found)
            self.reporter.say(found)
        return metrics

    def current_eval_loss(self) -> float | None:
        """The loss of the evaluation that is ending; None when it had no trained token."""
        if self._eval_nats is None or self._eval_tokens is None or self._eval_tokens == 0:
            return None
        return float(self._eval_nats / self._eval_tokens)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Into a folder beside, sealed with a manifest, renamed; older ones go after that."""
        began = time.monotonic()
        step = self.state.global_step
        scratch = Path(self.args.output_dir)
        shutil.rmtree(scratch, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        final = self._checkpoints / folder_name(step)
        size = seal(
            scratch / f"checkpoint-{step}", final, step=step, tokens_seen=self.progress.tokens_seen
        )
        shutil.rmtree(scratch, ignore_errors=True)
        self.reporter.say(
            CheckpointSaved(
                step=step, path=final.name, size_bytes=size, seconds=time.monotonic() - began
            )
        )
        prune(self._checkpoints, self._keep, step)
        for order in self.inbox.take(SaveCheckpoint):
            self.reporter.say(
                OrderAnswered(id=order.id, ok=True, message=f"checkpoint saved at step {step}")
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        # peft loads adapters as float32, and optimizer state follows what it finds.
        set_adapter_dtype(self.model, self._adapter_dtype)


class _CutShort(Exception):
    """A stop was ordered while the held-out rows were being measured."""


class _Voice(TrainerCallback):
    """Turns the trainer's callbacks into events, and orders into its control flags."""

    def __init__(self, trainer: SessionTrainer, patience: int | None) -> None:
        self._trainer = trainer
        self._patience = patience
        self._best: float | None = None
        self._worse = 0
        self._began = 0.0
        self._step_s = 0.0
        self._since_report_s = 0.0
        self._since_report_tokens = 0
        self._recent_s: deque[float] = deque(maxlen=50)
        self._first = True
        self._rows_measured = 0
        for earlier in trainer.progress.evaluations:
            self._compare(earlier.loss)

    def on_step_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began = time.monotonic()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        trainer = self._trainer
        tokens = trainer.take_tokens()
        self._step_s = time.monotonic() - self._began
        self._since_report_s += self._step_s
        self._since_report_tokens += tokens
        self._recent_s.append(self._step_s)
        trainer.progress.tokens_seen += tokens
        trainer.progress.step = state.global_step
        trainer.inbox.read()
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
            self._report(state, None, None, None, always=False)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        self._trainer.progress.last_loss = logs["loss"]
        always = self._first or control.should_evaluate or control.should_training_stop
        always = always or state.global_step >= state.max_steps
        self._first = False
        self._report(
            state, logs["loss"], logs.get("learning_rate"), logs.get("grad_norm"), always=always
        )

    def on_prediction_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.inbox.read()
        if self._trainer.inbox.stopping:
            self._rows_measured = 0
            raise _CutShort
        self._rows_measured += args.per_device_eval_batch_size
        rows = len(self._trainer.eval_dataset)
        self._trainer.reporter.progress("evaluating", min(rows, self._rows_measured), rows, "rows")

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        self._rows_measured = 0
        trainer = self._trainer
        loss = trainer.current_eval_loss()
        if loss is None:
            return
        self._compare(loss)
        if self._patience is not None and self._worse >= self._patience:
            control.should_training_stop = True
            control.should_save = True
            trainer.reporter.notice(
                f"early stopping: the eval loss was not better {self._worse} times in a row"
            )

    def _compare(self, loss: float) -> None:
        if self._best is None or loss < self._best:
            self._best, self._worse = loss, 0
        else:
            self._worse += 1

    def _report(
        self,
        state: TrainerState,
        loss: float | None,
        rate: float | None,
        norm: float | None,
        *,
        always: bool,
    ) -> None:
        trainer = self._trainer
        seconds, tokens = self._since_report_s, self._since_report_tokens
        left = max(0, state.max_steps - state.global_step)
        trainer.reporter.step(
            StepDone(
                step=state.global_step,
                epoch=float(state.epoch or 0.0),
                loss=loss,
                learning_rate=rate,
                grad_norm=norm,
                tokens_per_s=tokens / seconds if seconds > 0 and tokens else None,
                tokens_seen=trainer.progress.tokens_seen,
                step_s=self._step_s,
                eta_s=left * statistics.median(self._recent_s) if self._recent_s else None,
                **memory(),
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
        "peak_reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "card_used_gib": (total - free) / GIB,
    }
