"""Train one session, from its run.yaml to an adapter on disk: reads top to bottom.

The lock is taken and the first event written before torch is imported, which takes seconds.
"""

from __future__ import annotations

import argparse
import json
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
    ChoicesMade,
    OrderAnswered,
    RunPlanned,
    SpecChanged,
)
from tui_lora.core.orders import SaveCheckpoint, Stop
from tui_lora.core.text import clean
from tui_lora.store import lock
from tui_lora.store.atomic import write_whole
from tui_lora.store.checkpoints import Checkpoint, newest_whole
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import evaluations, last_attempt
from tui_lora.store.spec_now import spec_now
from tui_lora.worker.assemble import assemble
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.outcome import Outcome
from tui_lora.worker.progress import Progress
from tui_lora.worker.reporter import Reporter
from tui_lora.worker.resolved import write_resolved

if TYPE_CHECKING:
    from tui_lora.core.spec import RunSpec


class _Stopped(Exception):
    """A stop was ordered before there was a step to finish."""


def main(arguments: list[str]) -> int:
    """Be the session's worker; returns the exit code. Exits with 2 when another one lives."""
    asked = _parse(arguments)
    paths = SessionPaths(Path(asked.folder).absolute())
    inbox = Inbox(paths.orders)
    try:
        if asked.lock is None:
            lock.hold(paths.lock)
        else:
            lock.kept(asked.lock)
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
    outcome = Outcome(attempt, checkpoint.step if checkpoint else 0)
    try:
        spec = spec_now(paths, asked.changes)
        if asked.changes:
            reporter.say(SpecChanged(changes=asked.changes, reason=asked.reason))
        _train(paths, spec, checkpoint, reporter, inbox, outcome)
    except _Stopped:
        outcome.verdict, outcome.message = "stopped", f"before the first step, {inbox.stop_reason}"
    except UserError as error:
        outcome.verdict = "failed"
        outcome.message = clean(str(error))
    except Exception as error:  # noqa: BLE001 (whatever ended the run is what the user must read)
        traceback.print_exc()
        outcome.failed(error)
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
    return outcome.exit_code


def _train(
    paths: SessionPaths,
    spec: RunSpec,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    inbox: Inbox,
    outcome: Outcome,
) -> None:
    progress = outcome.progress = Progress()
    if checkpoint is not None:
        # The base was measured before the first step of an earlier attempt.
        progress.step, progress.tokens_seen = checkpoint.step, checkpoint.tokens_seen
        progress.evaluations = evaluations(paths)

    # Everything that takes minutes: libraries, rows, weights, adapter, trainer.
    run = assemble(
        paths,
        spec,
        checkpoint,
        reporter=reporter,
        inbox=inbox,
        progress=progress,
        stop_here=lambda: _stop_here(inbox),
    )
    trainer, data = run.trainer, run.data
    from tui_lora.worker.four_bit import packed_words
    from tui_lora.worker.lora import count_parameters, save_adapter

    # What became of every 'auto', and how long this will be.
    reporter.say(ChoicesMade(choices=tuple(run.decided)))
    write_resolved(
        paths,
        spec,
        run.decided,
        versions=_versions(),
        revision=run.brought.model_commit,
        start_revision=run.brought.start_commit,
        tokenizer=run.tokenizer,
        data=data,
    )
    trainable, total = count_parameters(trainer.model)
    planned = trainer.planned_steps()
    outcome.total_steps = planned
    reporter.say(
        RunPlanned(
            total_steps=planned,
            epochs=trainer.planned_epochs(planned),
            train_rows=len(data.train),
            eval_rows=len(data.held_out) if data.held_out is not None else 0,
            rows_per_step=spec.training.micro_batch * spec.training.accumulation,
            trainable_parameters=trainable,
            total_parameters=total,
            device=run.loaded.device,
            log_every_steps=spec.evaluation.log_every_steps,
            task=spec.task,
            labels=data.labels,
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
    with reporter.phase("saving", "saving the adapter"), trainer.as_saved():
        saved = save_adapter(
            trainer.model,
            run.tokenizer,
            paths.adapter,
            task=spec.task,
            labels=data.labels,
            began=trainer.began,
            four_bit=spec.experimental.four_bit_adapter,
        )
    outcome.adapter_bytes = saved.size_bytes
    if spec.experimental.four_bit_adapter:
        reporter.notice(*packed_words(saved.packed_bytes))
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


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tui_lora.worker train")
    parser.add_argument("folder", help="the session's")
    parser.add_argument("--changes", type=json.loads, default={}, help="settings from here on")
    parser.add_argument("--reason", default="", help="why they change")
    parser.add_argument("--lock", type=int, help="the lock's descriptor, where it is held already")
    return parser.parse_args(arguments)


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
