"""Train one session, from its run.yaml to an adapter on disk: reads top to bottom.

The lock is taken and the first event written before torch is imported, which takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from tui_lora.core.errors import UserError
from tui_lora.core.events import (
    AdapterSaved,
    AttemptFinished,
    AttemptStarted,
    Choice,
    ChoicesMade,
    OrderAnswered,
    Result,
    RunPlanned,
    Verdict,
)
from tui_lora.core.orders import SaveCheckpoint, Stop
from tui_lora.core.text import clean
from tui_lora.store import lock
from tui_lora.store.atomic import write_whole
from tui_lora.store.checkpoints import Checkpoint, newest_whole
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import evaluations, last_attempt
from tui_lora.store.spec_file import read_spec
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.reporter import Reporter

if TYPE_CHECKING:
    from tui_lora.core.spec import RunSpec
    from tui_lora.worker.data import Prepared
    from tui_lora.worker.trainer import Progress, SessionTrainer

EXIT_CODES: dict[str, int] = {"done": 0, "stopped": 0, "failed": 1, "out_of_memory": 3}


class _Stopped(Exception):
    """A stop was ordered before there was a step to finish."""


def main(folder: str) -> int:
    """Be the session's worker; returns the exit code. Exits with 2 when another one lives."""
    paths = SessionPaths(Path(folder).absolute())
    inbox = Inbox(paths.orders)
    try:
        lock.hold(paths.lock)
    except lock.AlreadyHeld as error:
        print(f"{paths.name} is already running (process {error.pid}).", file=sys.stderr)  # noqa: T201
        return 2
    inbox.listen_to_signals()
    attempt = last_attempt(paths) + 1
    _introduce(paths)
    reporter = Reporter(paths.events)
    checkpoint, passed_over = newest_whole(paths.checkpoints)
    reporter.begin(
        AttemptStarted(
            attempt=attempt,
            pid=os.getpid(),
            resumed_from=checkpoint.step if checkpoint else None,
            versions=_versions(),
        )
    )
    for reason in passed_over:
        reporter.notice(f"passed over checkpoint {reason}", "warning")
    began = time.monotonic()
    outcome = _Outcome(attempt, checkpoint.step if checkpoint else 0)
    try:
        spec = read_spec(paths.spec)
        _train(paths, spec, checkpoint, reporter, inbox, outcome)
    except _Stopped:
        outcome.verdict, outcome.message = "stopped", f"before the first step, {inbox.stop_reason}"
    except UserError as error:
        outcome.verdict = "failed"
        outcome.message = clean(str(error))
    except Exception as error:  # noqa: BLE001 (whatever ended the run is what the user must read)
        traceback.print_exc()
        outcome.verdict = "out_of_memory" if is_out_of_memory(error) else "failed"
        outcome.message = _in_words(error, outcome.verdict)
    for order in (*inbox.take(Stop), *inbox.take(SaveCheckpoint)):
        reached = isinstance(order, Stop)
        reporter.say(
            OrderAnswered(
                id=order.id,
                ok=reached,
                message=f"stopped at step {outcome.step}" if reached else "the run has ended",
            )
        )
    reporter.say(
        AttemptFinished(
            step=outcome.step, attempt=attempt, verdict=outcome.verdict, message=outcome.message
        )
    )
    outcome.write(paths, time.monotonic() - began)
    reporter.close()
    return EXIT_CODES.get(outcome.verdict, 1)


class _Outcome:
    """What result.json will say; filled in as the run goes."""

    def __init__(self, attempt: int, step: int) -> None:
        self.attempt, self._begun_at = attempt, step
        self.verdict: Verdict = "failed"
        self.message = ""
        self.total_steps: int | None = None
        self.adapter_bytes: int | None = None
        self.progress: Progress | None = None

    @property
    def step(self) -> int:
        return self.progress.step if self.progress else self._begun_at

    def write(self, paths: SessionPaths, seconds: float) -> None:
        progress = self.progress
        result = Result(
            attempt=self.attempt,
            verdict=self.verdict,
            step=self.step,
            total_steps=self.total_steps,
            message=self.message,
            seconds=round(seconds, 3),
            loss=progress.last_loss if progress else None,
            base_eval_loss=progress.base_eval_loss if progress else None,
            eval_loss=progress.eval_loss if progress else None,
            adapter_bytes=self.adapter_bytes,
            finished=round(time.time(), 3),
        )
        write_whole(paths.result, result.model_dump_json(indent=1) + "\n")


def _train(
    paths: SessionPaths,
    spec: RunSpec,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    inbox: Inbox,
    outcome: _Outcome,
) -> None:
    # The libraries. Their argument names are checked before anything is loaded.
    with reporter.phase("imports", "importing torch, transformers, peft and trl", 10.0):
        from tui_lora.worker.arguments import sft_arguments, sft_config
        from tui_lora.worker.data import prepare
        from tui_lora.worker.lora import (
            check_targets,
            count_parameters,
            lora_config,
            save_adapter,
        )
        from tui_lora.worker.model import choose_adapter_dtype, context_tokens, load_model
        from tui_lora.worker.resolved import earlier_fingerprint, write_resolved
        from tui_lora.worker.trainer import Progress, SessionTrainer

    # bitsandbytes warns at every multiplication of an int8 base on the CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    _stop_here(inbox)

    # The data, before the model: what is wrong with it should be known in a second.
    with reporter.phase("data", "reading the dataset"):
        data = prepare(spec.dataset, seed=spec.training.seed, say=reporter.notice)
    if checkpoint is not None and earlier_fingerprint(paths) not in (None, data.fingerprint):
        reporter.notice(
            f"the rows of {spec.dataset.path} are not those that this run began with, so some may "
            "be trained twice or never, and held-out ones may have been trained",
            "warning",
        )
    _stop_here(inbox)

    # The base model.
    with reporter.phase("model", f"loading {spec.model.id}"):
        loaded = load_model(spec.model, spec.quantization, devices=spec.hardware.devices)
    check_targets(spec.lora, loaded.model)
    if loaded.tokenizer.chat_template is None:
        raise UserError(
            "this model's tokenizer has no chat template, so questions and answers cannot be told "
            "apart.",
            where="model.id",
            then="Choose the model's instruct or chat variant.",
        )
    longest = context_tokens(loaded.model.config)
    if longest is not None and spec.training.max_length > longest:
        reporter.notice(
            f"max length {spec.training.max_length:,} is more than the {longest:,} tokens that "
            "this model was built for",
            "warning",
        )
    _stop_here(inbox)

    # The trainer: adapter, tokenized rows, optimizer plan.
    arguments, choices = sft_arguments(
        spec,
        scratch=paths.checkpoints / ".saving",
        device=loaded.device,
        dtype=loaded.dtype,
        held_out=data.held_out is not None,
        resumed=checkpoint is not None,
    )
    adapter_dtype, adapter_reason = choose_adapter_dtype(loaded.dtype, loaded.device)
    progress = Progress()
    if checkpoint is not None:
        # The base was measured before the first step of an earlier attempt.
        progress = Progress(checkpoint.step, checkpoint.tokens_seen, evaluations(paths))
    outcome.progress = progress
    with reporter.phase("trainer", "tokenizing and building the adapter"):
        trainer = SessionTrainer(
            model=loaded.model,
            args=sft_config(arguments),
            train_dataset=data.train,
            eval_dataset=data.held_out,
            processing_class=loaded.tokenizer,
            peft_config=lora_config(spec.lora),
            reporter=reporter,
            inbox=inbox,
            checkpoints=paths.checkpoints,
            keep=spec.evaluation.keep,
            adapter_dtype=adapter_dtype,
            progress=progress,
            patience=spec.evaluation.early_stopping,
        )
    if not len(trainer.train_dataset):
        raise UserError(
            "no token of any row would be trained: every answer lies behind max length.",
            where="training.max_length",
            then="Raise it.",
        )
    _tell_left_out(reporter, trainer, data, spec.training.max_length)
    if cut_rows := trainer.rows_at_max_length():
        reporter.notice(
            f"{cut_rows:,} of {len(trainer.train_dataset):,} rows reach max length "
            f"({spec.training.max_length:,} tokens); what goes beyond is cut",
            "warning",
        )
    decided = [
        *loaded.choices,
        *choices,
        Choice(
            setting="adapter's dtype",
            value=str(adapter_dtype).removeprefix("torch."),
            reason=adapter_reason,
        ),
        Choice(setting="dataset.format", value=data.format, reason=data.reason),
    ]
    reporter.say(ChoicesMade(choices=tuple(decided)))
    write_resolved(
        paths,
        spec,
        decided,
        versions=_versions(),
        revision=getattr(loaded.model.config, "_commit_hash", None),
        fingerprint=data.fingerprint,
    )
    trainable, total = count_parameters(trainer.model)
    planned = trainer.planned_steps()
    outcome.total_steps = planned
    reporter.say(
        RunPlanned(
            total_steps=planned,
            epochs=trainer.planned_epochs(planned),
            train_rows=len(trainer.train_dataset),
            eval_rows=len(trainer.eval_dataset) if trainer.eval_dataset is not None else 0,
            rows_per_step=spec.training.micro_batch * spec.training.accumulation,
            trainable_parameters=trainable,
            total_parameters=total,
            device=loaded.device,
            log_every_steps=spec.evaluation.log_every_steps,
        )
    )
    _stop_here(inbox)

    # Train. Checkpoints, evaluations, steps and orders are the trainer's.
    if checkpoint is not None and checkpoint.step >= planned:
        # Only the adapter is missing; transformers would take one step more.
        trainer.restore(checkpoint.folder)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint.folder) if checkpoint else None)

    # The adapter, read back before anyone says that it was saved.
    with reporter.phase("saving", "saving the adapter"):
        saved = save_adapter(trainer.model, loaded.tokenizer, paths.adapter)
    outcome.adapter_bytes = saved.size_bytes
    reporter.say(
        AdapterSaved(
            step=outcome.step, path="adapter", size_bytes=saved.size_bytes, tensors=saved.tensors
        )
    )
    if inbox.stopping and outcome.step < planned:
        outcome.verdict = "stopped"
        outcome.message = f"at step {outcome.step} of {planned}, {inbox.stop_reason}"
    else:
        outcome.verdict = "done"


def _tell_left_out(
    reporter: Reporter, trainer: SessionTrainer, data: Prepared, max_length: int
) -> None:
    """trl drops rows of whose answer nothing is left within max length, and says nothing."""
    kept = [(trainer.eval_dataset, data.held_out, "held-out rows")]
    if not trainer.args.packing:
        kept.append((trainer.train_dataset, data.train, "rows"))
    for now, before, what in kept:
        gone = len(before) - len(now) if before is not None else 0
        if gone:
            reporter.notice(
                f"left out {gone:,} of {len(before):,} {what}: their answers lie wholly behind "
                f"max length ({max_length:,} tokens)"
                + ("" if len(now) else ", so nothing is measured"),
                "warning",
            )


def _stop_here(inbox: Inbox) -> None:
    """Between two phases of loading: nothing to save yet, so a stop ends the run at once."""
    inbox.read()
    if inbox.stopping:
        raise _Stopped


def _introduce(paths: SessionPaths) -> None:
    """worker.json: what signalling needs; that the worker lives is told by the lock alone."""
    import psutil

    me = {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    }
    write_whole(paths.worker, json.dumps(me) + "\n")


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("tui-lora", "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _in_words(error: BaseException, verdict: Verdict) -> str:
    first = next(iter(clean(str(error)).strip().splitlines()), "") or "no message"
    if verdict == "out_of_memory":
        return (
            f"memory ran out: {first[:300]} Lower training.micro_batch (and raise accumulation), "
            "shorten training.max_length, or quantize the base."
        )
    return f"{type(error).__name__}: {first[:500]} (worker.log has the whole of it)"
