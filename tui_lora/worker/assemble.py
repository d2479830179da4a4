"""Everything that a run trains with, from its spec to a trainer that is ready: reads top to bottom.

What may be refused is asked first, what takes minutes last; nothing is trained here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.spec import RunSpec
from tui_lora.store.checkpoints import Checkpoint
from tui_lora.store.paths import SessionPaths
from tui_lora.worker import hub_kernels
from tui_lora.worker.bringing import Brought, bring_all
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.progress import Progress
from tui_lora.worker.reporter import Teller
from tui_lora.worker.resolved import Earlier, earlier
from tui_lora.worker.unchanged import Unchanged

if TYPE_CHECKING:
    from tui_lora.worker.data import Prepared
    from tui_lora.worker.model import Loaded


@dataclass(frozen=True)
class Assembled:
    """`spec` is the one asked for with every file in its place and every 'auto' of the training
    settled; `decided` says what each became. `trainer` is one of `worker/trainer.py`."""

    spec: RunSpec
    brought: Brought
    tokenizer: Any
    data: Prepared
    loaded: Loaded
    trainer: Any
    decided: list[Choice]


def assemble(
    paths: SessionPaths,
    spec: RunSpec,
    checkpoint: Checkpoint | None,
    *,
    reporter: Teller,
    inbox: Inbox,
    progress: Progress,
    stop_here: Callable[[], None],
    first_rows: int | None = None,
    accept: Collection[str] = (),
) -> Assembled:
    """The trainer of a session, its base loaded and its rows prepared. `progress` is how far
    earlier attempts came, `first_rows` with how many of the longest rows they began, `accept` what
    may be otherwise than it was then.

    `stop_here` is called between the phases, and may raise. Raises UserError for what cannot work.
    """
    # What the Hub has and this machine lacks comes first: it takes minutes, and may be refused.
    before = earlier(paths) if checkpoint is not None else Earlier()
    unchanged = Unchanged(paths.name, before, accept, reporter)
    brought = bring_all(paths, spec, checkpoint, before, reporter, stop_here)
    spec, start = brought.spec, brought.start
    decided = list(brought.choices)

    # The libraries. Their argument names are checked before anything is loaded.
    with reporter.phase("imports", "importing torch, transformers, peft and trl", 10.0):
        if spec.model.attention == "kernels":
            hub_kernels.let_in()
        from tui_lora.worker.arguments import trainer_config
        from tui_lora.worker.beginnings import begin
        from tui_lora.worker.data import prepare
        from tui_lora.worker.model import (
            choose_adapter_dtype,
            context_tokens,
            load_model,
            load_tokenizer,
            weights_place,
        )
        from tui_lora.worker.notices import notices
        from tui_lora.worker.planning import plan_of
        from tui_lora.worker.settling import make_ready, settle
        from tui_lora.worker.started import begin_from, check_labels, other_template
        from tui_lora.worker.templates import settle_in_time, settle_pad
        from tui_lora.worker.token_rows import make_rows
        from tui_lora.worker.trainer import TRAINERS
        from tui_lora.worker.vocabulary import add_tokens

    # bitsandbytes warns at every multiplication of an int8 base on the CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    stop_here()

    # The tokenizer, with the template by which turns are written down.
    with reporter.phase("tokenizer", f"loading the tokenizer of {spec.model.id}"):
        place = weights_place(spec.model, lambda label, _: reporter.notice(label))
        tokenizer = load_tokenizer(place, spec.model.revision, model=spec.model)
        if spec.task == "classification":
            decided += settle_pad(tokenizer)
        else:
            decided += settle_in_time(tokenizer, spec.model.chat_template)
        unchanged.template(spec, tokenizer)
        new = add_tokens(tokenizer, spec.lora.new_tokens)

    # The adapter, tried on the model's bare structure: what peft refuses is known in a second.
    with reporter.phase("adapter", "finding the adapter's layers"):
        settled = settle(spec, before.packed)
        spec = settled.spec
        plan = plan_of(spec, start, new.ids)
    for text in (*settled.notices, *new.notices(), *plan.notices):
        reporter.notice(text, "warning")
    decided += [*settled.choices, *plan.choices]

    # The data, before the model: what is wrong with it should be known before minutes of loading.
    heard = time.monotonic()

    def progressed(phase: str, done: float, total: float | None, unit: str) -> None:
        # Called at every row of a million; orders are in a file.
        nonlocal heard
        if time.monotonic() - heard >= 0.2:
            heard = time.monotonic()
            stop_here()
            reporter.progress(phase, done, total, unit)

    with reporter.phase("data", "reading and tokenizing the dataset"):
        data = prepare(
            spec,
            tokenizer,
            say=reporter.notice,
            progress=partial(progressed, "data"),
            left_out_file=paths.left_out,
        )
    if checkpoint is not None:
        if before.labels not in (None, list(data.labels)):
            raise UserError(
                f"the labels of {spec.dataset.path} are not those that this run began with, so its "
                "checkpoint sorts into others.",
                where="dataset.path",
                then="Put the rows back, or duplicate the run and begin anew.",
            )
        unchanged.rows(spec, data.fingerprint)
    elif start is not None:
        check_labels(start, data.labels)
        if spec.task != "classification" and (text := other_template(start, tokenizer)):
            reporter.notice(text, "warning")
    for text in notices(spec, data, left_out_file=paths.left_out.name):
        reporter.notice(text, "warning")
    stop_here()

    # The base model; a classifier gets its head here, which is random until it is trained.
    with reporter.phase("model", f"loading {spec.model.id}"):
        loaded = load_model(
            spec.model,
            spec.quantization,
            devices=spec.hardware.devices,
            on_progress=partial(progressed, "model"),
            attention=settled.attention,
            tokenizer=tokenizer,
            labels=data.labels,
            seed=spec.training.seed,
        )
        make_rows(loaded.model, new.ids)
        make_ready(loaded.model, spec.training)
    reporter.say(loaded.took.told())
    longest = context_tokens(loaded.model.config)
    if longest is not None and spec.training.max_length > longest:
        reporter.notice(
            f"max length {spec.training.max_length:,} is more than the {longest:,} tokens that "
            "this model was built for",
            "warning",
        )
    stop_here()

    # The trainer of the task: adapter, batches, optimizer plan.
    config, choices = trainer_config(
        spec,
        scratch=paths.checkpoints / ".saving",
        device=loaded.device,
        dtype=loaded.dtype,
        held_out=data.held_out is not None,
        resumed=checkpoint is not None,
        shape=data.shape,
    )
    adapter_dtype, adapter_reason = choose_adapter_dtype(
        loaded.dtype, loaded.device, spec.lora.variant
    )
    with reporter.phase("trainer", "building the adapter"):
        trainer = TRAINERS[spec.task](
            model=loaded.model,
            args=config,
            train_dataset=data.train,
            eval_dataset=data.held_out,
            processing_class=tokenizer,
            peft_config=plan.config(),
            reporter=reporter,
            inbox=inbox,
            paths=paths,
            keep=spec.evaluation.keep,
            adapter_dtype=adapter_dtype,
            progress=progress,
            first_rows=first_rows,
            lora=spec.lora,
            experimental=spec.experimental,
            patience=spec.evaluation.early_stopping,
            stop_by=spec.evaluation.stop_by,
            **({"labels": data.labels} if data.labels else {}),
        )
        if start is not None:
            decided += begin_from(
                trainer.model,
                start,
                task=spec.task,
                reference=paths.reference,
                resumed=checkpoint is not None,
            )
    if checkpoint is None:
        decided += begin(trainer, spec, reporter, progressed)
    elif before.beginning is not None:
        decided.append(before.beginning)
    decided += [
        *loaded.choices,
        *choices,
        Choice(
            setting="adapter's dtype",
            value=str(adapter_dtype).removeprefix("torch."),
            reason=adapter_reason,
        ),
        Choice(setting="dataset.format", value=data.reading.format, reason=data.reading.reason),
        *data.choices,
    ]
    return Assembled(spec, brought, tokenizer, data, loaded, trainer, decided)
