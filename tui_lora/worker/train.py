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
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tui_lora.core.errors import UserError
from tui_lora.core.events import (
    AdapterSaved,
    AttemptStarted,
    ChoicesMade,
    RunPlanned,
    SpecChanged,
)
from tui_lora.core.out_of_memory import Mend, plain_mends
from tui_lora.core.text import clean
from tui_lora.store import leftovers, lock
from tui_lora.store.atomic import write_whole
from tui_lora.store.changed_since import goes_on
from tui_lora.store.checkpoints import Checkpoint, checkpoints, newest_whole
from tui_lora.store.gpu import Sensors
from tui_lora.store.memory_table import learn_from
from tui_lora.store.paths import SessionPaths
from tui_lora.store.process_began import started_ticks
from tui_lora.store.resolved import became
from tui_lora.store.sessions import evaluations, last_attempt
from tui_lora.store.signals_sent import sent_since
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_now import spec_now
from tui_lora.store.sudden_end import what_it_began_with
from tui_lora.store.versions import versions
from tui_lora.worker.anew import Anew
from tui_lora.worker.assemble import assemble
from tui_lora.worker.fallback import CannotLoad, the_one_before
from tui_lora.worker.forecasting import Forecasting
from tui_lora.worker.handing_on import HandingOn, guard, my_card
from tui_lora.worker.inbox import AS_YOU_ASKED, Inbox
from tui_lora.worker.leaving import leave
from tui_lora.worker.measured_memory import memory_measured
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.outcome import Outcome
from tui_lora.worker.progress import Progress
from tui_lora.worker.ran_out import ask, memory_ran_out
from tui_lora.worker.reporter import Reporter
from tui_lora.worker.resolved import earlier, write_resolved
from tui_lora.worker.retry import Retry, next_try
from tui_lora.worker.unchanged import tell_what_changed
from tui_lora.worker.unwritten import why_unwritten

if TYPE_CHECKING:
    from tui_lora.core.spec import RunSpec


class _Stopped(Exception):
    """The end was ordered before there was a step to finish."""


def main(arguments: list[str]) -> int:
    """Be the session's worker; returns the exit code. Exits with 2 when another one lives."""
    asked = _parse(arguments)
    paths = SessionPaths(Path(asked.folder).absolute())
    begun_at = time.time()
    inbox = Inbox(paths.orders, asked.heard, lambda: bool(sent_since(paths, begun_at)))
    environment = dict(os.environ)
    try:
        held = lock.hold(paths.lock) if asked.lock is None else lock.kept(paths.lock, asked.lock)
    except lock.AlreadyHeld as error:
        print(f"{paths.name} is already running (process {error.pid}).", file=sys.stderr)  # noqa: T201
        return 2
    inbox.listen_to_signals()
    attempt = last_attempt(paths) + 1
    try:
        reporter = Reporter(paths.events)
    except OSError:
        # Whoever started it is told by its end; the others in the queue must not wait for a log.
        traceback.print_exc()
        HandingOn(paths, environment).begin()
        return 1
    unwritten = _introduce(paths)
    if asked.lock is None:
        guard(paths, environment)
    checkpoint, passed_over = newest_whole(paths.checkpoints, asked.before)
    reporter.begin(
        AttemptStarted(
            attempt=attempt,
            pid=os.getpid(),
            resumed_from=checkpoint.step if checkpoint else None,
            versions=versions(),
        )
    )
    for reason in passed_over:
        reporter.notice(f"passed over checkpoint {reason}", "warning")
    began = time.monotonic()
    outcome = Outcome(attempt, checkpoint.step if checkpoint else 0)
    retry: Retry | None = None
    instead: Checkpoint | None = None
    spec: RunSpec | None = None
    # Before anything of ours is on a card.
    before = Sensors().read()
    forecasting = Forecasting(reporter, before)
    try:
        if unwritten is not None:
            raise unwritten
        spec = spec_now(paths, asked.changes)
        # The micro-batch may be another by now; the order of the rows is that of the beginning.
        first_rows = read_spec(paths.spec).training.micro_batch
        if checkpoint is not None:
            tell_what_changed(paths, asked.changes, asked.accept, reporter)
            first_rows = earlier(paths).first_rows or first_rows
        else:
            # Whoever starts a run asks this; they may have been damaged since.
            goes_on(paths, asked.accept)
        if asked.changes:
            reporter.say(SpecChanged(changes=asked.changes, reason=asked.reason))
        forecasting.ask(spec)
        _train(
            *(paths, spec, checkpoint, reporter, inbox, outcome, first_rows, forecasting),
            accept=asked.accept,
        )
    except _Stopped:
        outcome.verdict = "paused" if inbox.ending == "pause" else "stopped"
        where = f"it went on from step {checkpoint.step:,}" if checkpoint else "the first step"
        outcome.message = f"before {where}, {inbox.stop_reason}"
    except CannotLoad as error:
        traceback.print_exc()
        assert checkpoint is not None
        instead, outcome.message = the_one_before(paths, checkpoint, error)
    except UserError as error:
        outcome.verdict = "failed"
        outcome.message = clean(str(error))
    except Exception as error:  # noqa: BLE001 (whatever ended the run is what the user must read)
        if inbox.discarding:
            outcome.discarded(paths, inbox.stop_reason)
        elif is_out_of_memory(error):
            retry = _ran_out(error, paths, spec, asked.retry, reporter, outcome)
        else:
            traceback.print_exc()
            outcome.failed(error)
    forecasting.end()
    if (measured := memory_measured(before)) is not None:
        reporter.say(measured)
        learn_from(paths, steps=outcome.step - (checkpoint.step if checkpoint else 0))
    if outcome.onward:
        # Promised by now: it holds for whoever resumes the run, also where its end comes first.
        reporter.say(SpecChanged(changes=outcome.onward, reason=AS_YOU_ASKED))
    inbox.read()
    anew = Anew(paths, held, asked.accept, environment, reporter, inbox, outcome)
    if retry is not None and not inbox.stopping:
        reporter.notice(f"the run goes on by itself: {retry.words}", "warning")
        anew.begin(retry)
    elif instead is not None and checkpoint is not None and not inbox.stopping:
        reporter.notice(outcome.message, "warning")
        anew.begin(Retry(asked.retry, {}, ""), before=checkpoint.step)
    elif outcome.loads_anew and not inbox.stopping:
        anew.begin(Retry(asked.retry, {}, ""))
    if inbox.stopping and (instead is not None or outcome.loads_anew):
        outcome.ended_first(inbox, instead.step if instead is not None else outcome.step)
    seconds = time.monotonic() - began
    return leave(paths, spec, outcome, inbox, reporter, environment, seconds)


def _train(
    paths: SessionPaths,
    spec: RunSpec,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    inbox: Inbox,
    outcome: Outcome,
    first_rows: int | None = None,
    forecasting: Forecasting | None = None,
    accept: Collection[str] = (),
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
        first_rows=first_rows,
        accept=accept,
    )
    trainer, data = run.trainer, run.data
    outcome.trainer = trainer
    from tui_lora.worker.control import Control
    from tui_lora.worker.peeking import Peeking
    from tui_lora.worker.watch import Watch

    peeking = Peeking(
        trainer,
        run.spec,
        data,
        attempt=outcome.attempt,
        from_step=checkpoint.step if checkpoint else 0,
    )
    trainer.add_callback(peeking)
    control = Control(trainer, run.spec, peeking)
    # The very same, also where something fails after a change was promised.
    outcome.onward = control.onward
    trainer.add_callback(control)
    trainer.add_callback(Watch(trainer, spec.guards))
    if forecasting is not None and run.loaded.device == "cpu":
        # There is a card, and torch sees none.
        forecasting.end()
    elif forecasting is not None:
        longest = int(trainer.row_lengths.max(initial=0))
        forecasting.ask_again(run.spec, longest_row=longest, rows=len(data.train))
    from tui_lora.worker.beginning_words import how_it_begins
    from tui_lora.worker.four_bit import packed_words
    from tui_lora.worker.lora import count_parameters, save_adapter
    from tui_lora.worker.resuming import shown
    from tui_lora.worker.saving import words_for_the_disk

    # What became of every 'auto', and how long this will be.
    reporter.say(ChoicesMade(choices=tuple(run.decided)))
    write_resolved(
        paths,
        spec,
        run.decided,
        versions=versions(),
        revision=run.brought.model_commit,
        start_revision=run.brought.start_commit,
        tokenizer=run.tokenizer,
        data=data,
        device=run.loaded.device,
        first_rows=first_rows,
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
    if checkpoint is None:
        reporter.notice(how_it_begins(trainer, run.spec.training))
    _stop_here(inbox)

    # Train. Checkpoints, evaluations, steps and orders are the trainer's.
    if checkpoint is None:
        trainer.train()
    else:
        with shown(checkpoint, paths.checkpoints / ".resumed") as folder:
            if checkpoint.step < planned:
                trainer.train(resume_from_checkpoint=str(folder))
            else:
                # Only the adapter is missing; transformers would take one step more.
                trainer.restore(folder)

    # A run that goes on later, or at once with other settings, needs its checkpoint alone.
    unsaved = trainer.saving.failed if outcome.step < planned else ""
    if inbox.ending == "pause" and outcome.step < planned:
        outcome.paused(paths, inbox.stop_reason, unsaved)
        return
    if control.onward and not inbox.stopping:
        outcome.loads_anew = True
        outcome.message = "it could not load anew"
        return

    # The adapter, read back before anyone says that it was saved.
    trainer.doing.phase = "saving"
    with (
        words_for_the_disk("the adapter", f"Make room, then resume it: {paths.name}."),
        reporter.phase("saving", "saving the adapter"),
        trainer.as_saved(),
    ):
        trainer.saving.look_for_room()
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
    if inbox.stopping and unsaved:
        outcome.unsaved(paths, f"{inbox.stop_reason}; its adapter is saved", unsaved)
    elif inbox.stopping and outcome.step < planned:
        outcome.verdict = "stopped"
        outcome.message = f"at step {outcome.step} of {planned}, {inbox.stop_reason}"
    else:
        outcome.done(paths, trainer.saving.failed)


def _ran_out(
    error: Exception,
    paths: SessionPaths,
    spec: RunSpec,
    tried: int,
    reporter: Reporter,
    outcome: Outcome,
) -> Retry | None:
    """Say where the memory went, and what to do about it: a retry, or words for the user."""
    event = memory_ran_out(error, outcome.trainer)
    traceback.print_exception(error)
    # The frames of the failure hold tensors, and the last words need some memory too.
    traceback.clear_frames(error.__traceback__)
    reporter.say(event)
    found = next_try(spec, event.phase, tried)
    mends = ask(lambda: _mends(paths, spec)) or ()
    outcome.ran_out(event, [mend.title for mend in mends if mend.resumes], found)
    return found if isinstance(found, Retry) else None


def _mends(paths: SessionPaths, spec: RunSpec) -> tuple[Mend, ...]:
    there = bool(checkpoints(paths.checkpoints))
    return plain_mends(spec, became(paths), checkpoint=there)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tui_lora.worker train")
    parser.add_argument("folder", help="the session's")
    parser.add_argument("--changes", type=json.loads, default={}, help="settings from here on")
    parser.add_argument("--reason", default="", help="why they change")
    parser.add_argument("--accept", type=json.loads, default=[], help="what may have changed")
    parser.add_argument("--retry", type=int, default=0, help="how often memory ran out before")
    parser.add_argument("--before", type=int, help="only checkpoints before this step")
    parser.add_argument("--heard", type=int, help="how far orders.jsonl was read, in bytes")
    parser.add_argument("--lock", type=int, help="the lock's descriptor, where it is held already")
    return parser.parse_args(arguments)


def _stop_here(inbox: Inbox) -> None:
    """Between two phases of loading: nothing to save yet, so a stop ends the run at once."""
    inbox.read()
    if inbox.stopping:
        raise _Stopped


def _introduce(paths: SessionPaths) -> UserError | None:
    """worker.json: what signalling needs, and the sign that the worker has begun; that it lives is
    told by the lock alone. Returns why it could not be written."""
    me = {
        "pid": os.getpid(),
        "card": my_card(),
        "started_ticks": started_ticks(os.getpid()),
        **what_it_began_with(),
    }
    leftovers.clear(paths)
    try:
        write_whole(paths.worker, json.dumps(me) + "\n")
    except OSError as error:
        what = f"worker.json could not be written: {why_unwritten(error)}."
        return UserError(what, then=f"Make room, then resume it: {paths.name}.", exit_code=1)
    return None
