"""The trainers of trl and transformers with what a session adds: voice, orders, whole checkpoints.

Their rows come prepared (`worker/data.py`), and everything that is not reporting or saving is
theirs.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import DPOTrainer, KTOTrainer, SFTTrainer

from tui_lora.core.class_report import ClassReport
from tui_lora.core.events import Evaluated
from tui_lora.core.experimental_spec import ExperimentalSpec
from tui_lora.core.spec import LoraSpec
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.paths import SessionPaths
from tui_lora.worker import resuming
from tui_lora.worker.as_it_was import chance_as_it_was
from tui_lora.worker.class_reporting import ClassReporting
from tui_lora.worker.classifier import ClassificationTrainer, accuracy_of, macro_f1_of
from tui_lora.worker.doing import Doing
from tui_lora.worker.experimental import LorentzianPenalty
from tui_lora.worker.four_bit import Rounding
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.longest_first import Lengths, LongestFirst, fed_lengths
from tui_lora.worker.lora import set_adapter_dtype
from tui_lora.worker.progress import Progress
from tui_lora.worker.reference import TRAINED
from tui_lora.worker.reporter import Teller
from tui_lora.worker.resuming import reading, scaler_words
from tui_lora.worker.saving import Saving
from tui_lora.worker.schedule import follow_course, settle_schedule
from tui_lora.worker.token_rows import hand_on_bias
from tui_lora.worker.variants import beginning, freeze, optimizer_of
from tui_lora.worker.voice import CutShort, Voice, logged_metrics

LOGS_KEPT = 1000
"""Of what transformers writes into each trainer_state.json, some 280 bytes each."""


class Session:
    """What every trainer of a session has beside its task; stands before a trainer's class.

    It begins with the `first_rows` longest rows: the micro-batch that run.yaml asks for, whatever
    became of it since; without it that of the config.
    """

    rows_stay = False
    """Whether the rows of a micro-batch are fed together, and in the order in which they stand."""

    def __init__(
        self,
        *arguments: Any,
        reporter: Teller,
        inbox: Inbox,
        paths: SessionPaths,
        keep: int,
        adapter_dtype: torch.dtype,
        progress: Progress,
        first_rows: int | None = None,
        lora: LoraSpec | None = None,
        experimental: ExperimentalSpec | None = None,
        patience: int | None = None,
        stop_by: str = "loss",
        **named: Any,
    ) -> None:
        self.reporter, self.inbox, self.progress = reporter, inbox, progress
        self.paths, self.keep = paths, keep
        self._adapter_dtype = adapter_dtype
        self.doing = Doing()
        self._micro_tokens: list[torch.Tensor] = []
        self._eval_sum: torch.Tensor | None = None
        self._eval_weight: torch.Tensor | None = None
        self._eval_loader: tuple[Any, Any] | None = None
        self._lora = lora = lora or LoraSpec()
        super().__init__(*arguments, **named)
        self.saving = Saving(self, paths, stop_by)
        self.first_rows = first_rows or self.args.per_device_train_batch_size
        began = paths.folder / "began.safetensors"
        if progress.step == 0:
            began.unlink(missing_ok=True)
        self.began = beginning(self.model, lora.variant, began)
        # trl makes a quantized base's adapter bfloat16; what it shall be was decided apart.
        set_adapter_dtype(self.model, adapter_dtype)
        freeze(self.model, lora.variant)
        hand_on_bias(self.model)
        tried = experimental or ExperimentalSpec()
        self._penalty: LorentzianPenalty | None = None
        self._last_penalty: torch.Tensor | None = None
        if tried.lorentzian > 0:
            self._penalty = LorentzianPenalty(tried.lorentzian, tried.lorentzian_width)
        self._rounding = Rounding(self.model) if tried.four_bit_adapter else None
        # What it prints stands in the events already.
        self.remove_callback(PrinterCallback)
        self.add_callback(Voice(self, patience, stop_by))

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """As it is: it was prepared, by this very trainer's code, before the base was loaded."""
        return dataset

    @cached_property
    def row_lengths(self) -> Lengths:
        """How many tokens each row is fed with."""
        cut = getattr(self.args, "max_length", None)
        return fed_lengths(self.train_dataset, max_length=cut, together=self.first_rows)

    def _get_train_sampler(self, train_dataset: Any = None) -> LongestFirst:
        return LongestFirst(
            self.row_lengths,
            first=self.first_rows,
            seed=self.args.data_seed,
            in_place=self.rows_stay,
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The same each time: accelerate keeps hold of every one that is made, and of its rows."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if self._eval_loader is None or self._eval_loader[0] is not rows:
            self._eval_loader = rows, super().get_eval_dataloader(rows)
        return self._eval_loader[1]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            kind, named = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = optimizer_of(self._lora, self.model, self.args, kind, named)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        settle_schedule(self.args, optimizer or self.optimizer, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)

    def weight_of(self, inputs: Any) -> torch.Tensor:
        """How much a batch's mean loss counts among the others': its rows."""
        return torch.tensor(len(inputs["input_ids"]))

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
        self.doing.batch("forward" if self.model.training else "evaluation", inputs)
        mask = inputs.get("attention_mask")
        tokens = mask.sum() if mask is not None else torch.tensor(inputs["input_ids"].numel())
        weight = self.weight_of(inputs)
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            # Summed on the device and read at the step's end: a read here would wait for the card.
            self._micro_tokens.append(tokens)
            self.doing.phase = "backward"
        else:
            loss = (result[0] if return_outputs else result).detach().double()
            weight = weight.to(loss.device)
            both = (loss * weight, weight)
            if self._eval_sum is not None:
                both = (self._eval_sum + both[0], self._eval_weight + both[1])
            self._eval_sum, self._eval_weight = both
        # To ask the reference the adapter is switched off and on, and all of it is trained then.
        freeze(self.model, self._lora.variant)
        return result

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """The loss of a micro-batch, its gradients added to those of the others."""
        if self._rounding is not None:
            self._rounding.put_on()
        loss: torch.Tensor = super().training_step(*arguments, **named)
        if self.accelerator.sync_gradients:
            self.doing.phase = "step"
            # All micro-batches of the step are in. The penalty is of the step, not of its rows:
            # in the loss, each task would divide it in a way of its own.
            if self._rounding is not None:
                self._rounding.take_off()
            if self._penalty is not None:
                backward = self.accelerator.backward
                self._last_penalty = self._penalty.add_gradients(self.model, backward)
        return loss

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        if "loss" in logs and self._last_penalty is not None:
            logs = {**logs, "penalty": float(self._last_penalty)}
        super().log(logs, *arguments, **named)
        # Every checkpoint holds all of it, and events.jsonl tells it already.
        del self.state.log_history[:-LOGS_KEPT]

    def as_saved(self) -> AbstractContextManager[None]:
        """While this is open, the model is the one that its saved adapter makes."""
        return nullcontext() if self._rounding is None else self._rounding.on()

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

    def take_tokens(self) -> int:
        """Tokens of the micro-batches since the last call, without padding."""
        taken = sum(int(tokens) for tokens in self._micro_tokens)
        self._micro_tokens = []
        return taken

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """The loss over the held-out rows, and the task's figures.

        transformers averages over batches as they come; here each counts by its weight.
        """
        self._eval_sum = self._eval_weight = None
        began = time.monotonic()
        step = self.state.global_step
        metrics: dict[str, float] = {}
        measuring = f"measuring the held-out rows at step {step}"
        self.doing.phase = "evaluation"
        # Whoever reads rows draws a number; a checkpoint may be written before this evaluation or
        # behind it, and the next step is to be the same from both.
        with self.reporter.phase("evaluating", measuring), self.as_saved(), chance_as_it_was():
            try:
                metrics = super().evaluate(*arguments, **named)
            except CutShort:
                # Over thousands of rows this takes minutes, and the user wants to stop now.
                self._eval_sum = self._eval_weight = None
                self.control.should_training_stop = self.control.should_save = True
                self.reporter.notice(f"the evaluation at step {step} was cut short by the stop")
        self.doing.phase = "forward"
        loss = self.current_eval_loss()
        if loss is not None:
            metrics["eval_loss"] = loss
            found = Evaluated(
                step=step,
                loss=loss,
                rows=len(self.eval_dataset),
                seconds=time.monotonic() - began,
                metrics=self.figures(metrics, step),
            )
            self.progress.evaluations.append(found)
            self.reporter.say(found)
        return metrics

    def grade(self, by: str) -> float | None:
        """How the evaluation that is ending was, the less the better; None without a result."""
        return self.current_eval_loss()

    def figures(self, metrics: dict[str, float], step: int) -> dict[str, float]:
        """What the evaluation that ended at `step` found beside its loss."""
        return logged_metrics(metrics, "eval_")

    def current_eval_loss(self) -> float | None:
        """The loss of the evaluation that is ending; None when nothing in it was trained."""
        if self._eval_sum is None or self._eval_weight is None or self._eval_weight == 0:
            return None
        return float(self._eval_sum / self._eval_weight)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.saving.save(lambda: super(Session, self)._save_checkpoint(model, trial))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The trained adapter and the tokenizer: no reference beside it, and no pickle."""
        # transformers would let peft ask the Hub how many tokens the base began with.
        self.model.save_pretrained(
            output_dir, selected_adapters=[TRAINED], save_embedding_layers=False
        )
        self.processing_class.save_pretrained(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with reading(resuming.ADAPTER):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        # peft loads adapters as float32 and to be trained; optimizer state follows what it finds.
        set_adapter_dtype(self.model, self._adapter_dtype)
        freeze(self.model, self._lora.variant)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading(resuming.OPTIMIZER):
            super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            follow_course(self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading(resuming.RANDOM):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        scales = getattr(self.accelerator, "scaler", None) is not None
        if words := scaler_words(Path(checkpoint), scales=scales):
            self.reporter.notice(words, "warning")
        if scales:
            with reading(resuming.SCALER_NAME):
                super()._load_scaler(checkpoint)


class SftSession(Session, SFTTrainer):
    """Answers and texts. The eval loss is that of a trained token, as perplexity wants it."""

    def __init__(self, *arguments: Any, args: Any, **named: Any) -> None:
        # What is learned of a row stands in its labels by now; trl would look for turns in it.
        args.assistant_only_loss = False
        super().__init__(*arguments, args=args, **named)

    def weight_of(self, inputs: Any) -> torch.Tensor:
        return (inputs["labels"][..., 1:] != -100).sum()


class ClassificationSession(Session, ClassificationTrainer):
    """Labels for texts; each evaluation leaves a report of who was taken for whom."""

    @cached_property
    def _reports(self) -> ClassReporting:
        return ClassReporting(self.paths, self.reporter)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        write_labels(Path(str(output_dir)), self.labels)

    def grade(self, by: str) -> float | None:
        return -macro_f1_of(self.confusion) if by == "macro_f1" else super().grade(by)

    def figures(self, metrics: dict[str, float], step: int) -> dict[str, float]:
        report = ClassReport(
            t=round(time.time(), 3),
            step=step,
            labels=self.labels,
            confusion=tuple(tuple(row) for row in self.confusion.tolist()),
            rows=int(self.confusion.sum()),
            accuracy=accuracy_of(self.confusion),
            macro_f1=macro_f1_of(self.confusion),
        )
        self._reports.keep(report)
        return {"accuracy": report.accuracy, "macro_f1": report.macro_f1}


class DpoSession(Session, DPOTrainer):
    """Pairs of answers. The reference is the base, the same weights with the adapter off; or the
    adapter that the run started from (`worker/reference.py`)."""

    def weight_of(self, inputs: Any) -> torch.Tensor:
        # The chosen answers of a batch stand above the rejected ones.
        return torch.tensor(len(inputs["input_ids"]) // 2)


class KtoSession(Session, KTOTrainer):
    """Answers marked good or bad, measured against the base as pairs are."""

    rows_stay = True


TRAINERS: dict[str, type[Session]] = {
    "sft": SftSession,
    "classification": ClassificationSession,
    "dpo": DpoSession,
    "kto": KtoSession,
}
